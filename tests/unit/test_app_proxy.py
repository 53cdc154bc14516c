"""The app behind proxies: with a path prefix, another host name, TLS before it, and in JupyterLab."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
import requests

from fraud_demo.app import build_app, start_app
from fraud_demo.core import InputError, PageLink, find_workbench_link, load_settings
from fraud_demo.details.app_process import make_health_routes, read_root_path
from fraud_demo.serving import EndpointScorer
from fraud_demo.workshop.stack import plan_mlflow

from .test_app import FRAUDULENT, free_port
from .v2_double import V2Double

PREFIX = "/some/prefix"
WORKBENCH = "/notebook/fraud/mine"
TOKEN = "a-token-of-the-tests"


@contextlib.contextmanager
def run_proxy(target, prefix=PREFIX, strips=True, headers=None):
    "Run a reverse proxy that serves `target` under a prefix, and passes streams on as they come; give its address."
    import httpx
    import uvicorn
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    client = httpx.AsyncClient(base_url=target, trust_env=False, timeout=30)

    async def pass_on(request):
        path = request.url.path
        if not path.startswith(f"{prefix}/"):
            return PlainTextResponse("The proxy has nothing here.", 404)
        url = httpx.URL(path=path.removeprefix(prefix) if strips else path, query=request.url.query.encode())
        given = {**dict(request.headers), **(headers or {})}
        question = client.build_request(request.method, url, headers=given, content=await request.body())
        answer = await client.send(question, stream=True)
        return StreamingResponse(
            answer.aiter_raw(),
            answer.status_code,
            dict(answer.headers),
            background=BackgroundTask(answer.aclose),
        )

    methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
    port = free_port()
    config = uvicorn.Config(
        Starlette(routes=[Route("/{path:path}", pass_on, methods=methods)]), port=port, log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = server.force_exit = True
    thread.join(5)


@contextlib.contextmanager
def run_app(double, **options):
    "Run the app in front of a double; give its address, without the slash at the end."
    scorer = EndpointScorer(double.url)
    app = build_app(scorer)
    options["routes"] = make_health_routes(scorer, threading.Event())
    url = start_app(app, **{"port": free_port(), **options})
    yield url.rstrip("/")
    app.close(verbose=False)


@pytest.fixture(scope="module")
def double():
    server = V2Double(version="7")
    yield server
    server.close()


class Links(HTMLParser):
    "The scripts and style sheets of a page, and what gradio put into it."

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)
        self.root = json.loads(re.search(r'"root":("[^"]*")', html)[1])

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        is_style = tag == "link" and values.get("rel") in ("stylesheet", "modulepreload")
        place = values.get("src") if tag == "script" else values.get("href") if is_style else None
        if place:
            self.found.append(place)


def use_page(session, page):
    "Do what a browser does: load the page and what it names, press the button, read the stream."
    html = session.get(page, timeout=10)
    assert html.status_code == 200 and "Is this payment fraud?" in html.text
    links = Links(html.text)
    places = {urljoin(page, place) for place in links.found}
    own = {place for place in places if place.startswith(page)}
    assert len(own) >= 2, "scripts and styles are under the page's own address"
    for place in own | {f"{links.root}/theme.css"}:
        asset = session.get(place, timeout=10)
        assert asset.status_code == 200, place
        assert re.match(
            r"(text/(css|javascript|plain)|application/javascript)", asset.headers["Content-Type"]
        )
    assert session.get(f"{links.root}/config", timeout=10).json()["root"] == links.root
    return links.root


def predict_as_page(session, root):
    "Join the queue and read the stream, as the page's script does; return the card with the verdict."
    config = session.get(f"{root}/config", timeout=10).json()
    number = next(
        d["id"] for d in config["dependencies"] if d["backend_fn"] and d["api_visibility"] == "private"
    )
    asked = {"data": [None, *FRAUDULENT], "fn_index": number, "session_hash": "s", "event_data": None}
    joined = session.post(f"{root}{config['api_prefix']}/queue/join", json=asked, timeout=10)
    assert joined.status_code == 200, joined.text[:200]
    stream = session.get(
        f"{root}{config['api_prefix']}/queue/data?session_hash=s",
        headers={"Accept": "text/event-stream"},
        stream=True,
        timeout=10,
    )
    for line in stream.iter_lines():
        message = json.loads(line.removeprefix(b"data: ") or b"{}")
        if message.get("msg") == "process_completed":
            stream.close()
            return message["output"]["data"][2]  # history, sitting, card
    raise AssertionError("the stream ended without an answer")


def predict_as_program(url, **options):
    "Ask with Gradio's own client."
    from gradio_client import Client

    client = Client(url, verbose=False, analytics_enabled=False, **options)
    return client.predict(*FRAUDULENT, api_name="/predict")


@pytest.fixture
def session():
    with requests.Session() as own:
        own.trust_env = False
        yield own


# --- a prefix


@pytest.mark.parametrize("strips", [True, False], ids=["the proxy takes the prefix off", "it leaves it on"])
def test_app_works_under_a_prefix_and_without_it(double, session, strips):
    with run_app(double, root_path=PREFIX) as url, run_proxy(url, strips=strips) as outside:
        page = f"{outside}{PREFIX}/"
        root = use_page(session, page)
        assert root == page.rstrip("/")
        assert ">Fraud<" in predict_as_page(session, root)
        assert predict_as_program(page)["verdict"] == "Fraud"
        assert session.get(f"{page}readyz", timeout=10).text == "ready\n"

        assert use_page(session, f"{url}/") == url + PREFIX, "asked directly, it answers under both"
        assert ">Fraud<" in predict_as_page(session, url + PREFIX)
        assert predict_as_program(url)["verdict"] == "Fraud"
        assert session.get(f"{url}/readyz", timeout=10).text == "ready\n"


def test_prefix_that_the_app_does_not_know_is_seen_by_this_test(double, session):
    with run_app(double) as url, run_proxy(url) as outside:
        assert session.get(f"{outside}{PREFIX}/", timeout=10).status_code == 200
        with pytest.raises(AssertionError):
            use_page(session, f"{outside}{PREFIX}/")


def test_proxy_with_another_host_name_tells_it(double, session):
    told = {"host": "inner:8080", "X-Forwarded-Host": "apps.example", "X-Forwarded-Proto": "https"}
    with run_app(double, root_path=PREFIX) as url, run_proxy(url, headers=told) as outside:
        root = session.get(f"{outside}{PREFIX}/config", timeout=10).json()["root"]
    assert root == f"https://apps.example{PREFIX}"


def test_proxy_that_tells_nothing_wants_the_whole_address(double, session):
    inner, address = {"host": "inner:8080"}, "https://apps.example/fraud"
    with run_app(double, root_path=address) as url, run_proxy(url, headers=inner) as outside:
        assert session.get(f"{outside}{PREFIX}/config", timeout=10).json()["root"] == address
        assert "apps.example/fraud" in session.get(f"{outside}{PREFIX}/", timeout=10).text


@pytest.mark.parametrize(
    "text, path",
    [
        (None, None),
        ("", None),
        (" / ", None),
        ("/fraud", "/fraud"),
        ("/a/b/", "/a/b"),
        ("https://x/y", "https://x/y"),
    ],
)
def test_root_path(text, path):
    assert read_root_path({} if text is None else {"GRADIO_ROOT_PATH": text}) == path


def test_root_path_without_a_slash_is_refused():
    with pytest.raises(InputError, match="Set /fraud"):
        read_root_path({"GRADIO_ROOT_PATH": "fraud/"})


# --- a workbench


@pytest.mark.parametrize(
    "url, environ, link",
    [
        ("http://127.0.0.1:7860/", {"NB_PREFIX": WORKBENCH}, f"{WORKBENCH}/proxy/7860/"),
        ("http://127.0.0.1:7860", {"NB_PREFIX": f"{WORKBENCH}/"}, f"{WORKBENCH}/proxy/7860/"),
        (
            "http://localhost:5000/#/models/a%20b",
            {"NB_PREFIX": WORKBENCH},
            f"{WORKBENCH}/proxy/5000/#/models/a%20b",
        ),
        ("http://[::1]:1/a?b=c#d", {"JUPYTERHUB_SERVICE_PREFIX": "/user/x/"}, "/user/x/proxy/1/a?b=c#d"),
        ("http://127.0.0.1/", {"JUPYTERHUB_SERVICE_PREFIX": "/user/x/"}, "/user/x/proxy/80/"),
        ("http://127.0.0.1:7860/", {}, None),
        ("http://127.0.0.1:7860/", {"NB_PREFIX": "", "JUPYTERHUB_SERVICE_PREFIX": " "}, None),
        ("http://127.0.0.1:7860/", {"JUPYTERHUB_SERVICE_PREFIX": "/"}, None),
        ("https://mlflow.example/#/models", {"NB_PREFIX": WORKBENCH}, None),
        ("http://mlflow.example:5000/", {"NB_PREFIX": WORKBENCH}, None),
        ("https://127.0.0.1:8443/", {"NB_PREFIX": WORKBENCH}, None),
    ],
)
def test_link_of_a_workbench(url, environ, link):
    assert find_workbench_link(url, environ) == link


def test_link_reads_the_environment(monkeypatch):
    for name in ("NB_PREFIX", "JUPYTERHUB_SERVICE_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    assert find_workbench_link("http://127.0.0.1:1/") is None
    monkeypatch.setenv("NB_PREFIX", WORKBENCH)
    assert find_workbench_link("http://127.0.0.1:1/") == f"{WORKBENCH}/proxy/1/"


def test_link_is_shown_as_a_browser_can_follow_it(monkeypatch):
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    monkeypatch.setenv("NB_PREFIX", WORKBENCH)
    page = PageLink('http://127.0.0.1:5000/#/a?b="c"&d')
    assert page == 'http://127.0.0.1:5000/#/a?b="c"&d', "a program gets the address itself"
    assert f'href="{WORKBENCH}/proxy/5000/#/a?b=&quot;c&quot;&amp;d"' in page._repr_html_()
    monkeypatch.delenv("NB_PREFIX")
    assert 'href="http://127.0.0.1:5000/#/a?b=&quot;c&quot;&amp;d"' in page._repr_html_()


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    "The server of JupyterLab as a workbench has it, with the extension that passes requests on to ports."
    folder, port = tmp_path_factory.mktemp("jupyter"), free_port()
    options = {
        "ServerApp.port": port,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.base_url": WORKBENCH,
        "ServerApp.root_dir": folder,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "ServerApp.allow_remote_access": True,  # under the name of its route
        "IdentityProvider.token": TOKEN,
    }
    command = [
        sys.executable,
        "-m",
        "jupyter_server",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    log_path = folder / "log"
    with log_path.open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **places}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}{WORKBENCH}"
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.exceptions.ConnectionError):
                if requests.get(f"{url}/api", timeout=5).ok:
                    break
            assert process.poll() is None and time.monotonic() < until, log_path.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def test_app_works_in_a_workbench_through_jupyterlab(double, jupyter, session, monkeypatch):
    monkeypatch.setenv("NB_PREFIX", WORKBENCH)
    with run_app(double) as url:
        page = jupyter + find_workbench_link(url)
        refused = session.get(page, timeout=10, allow_redirects=False)
        assert refused.status_code in (302, 403), "Jupyter asks who comes"
        session.headers["Authorization"] = f"token {TOKEN}"
        root = use_page(session, page)
        assert root == page.rstrip("/")
        assert ">Fraud<" in predict_as_page(session, root)
        assert predict_as_program(page, headers={"Authorization": f"token {TOKEN}"})["verdict"] == "Fraud"

        route = {"Host": "workbench.apps.example", "X-Forwarded-Proto": "https"}
        outside = session.get(f"{page}config", headers=route, timeout=10).json()["root"]
        assert outside == f"https://workbench.apps.example{find_workbench_link(url)}".rstrip("/")
        assert predict_as_program(url)["verdict"] == "Fraud", "programs in the workbench ask it directly"


@contextlib.contextmanager
def run_mlflow(folder):
    "Run MLflow as the stack plans it; give its address."
    environ = {"FRAUD_DEMO_HOME": str(folder)}
    port = free_port()
    program = plan_mlflow(load_settings(environ), {"mlflow": port})
    (folder / "mlflow").mkdir()
    command = [sys.executable, *program.command[1:]]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environ, **program.environment}, cwd=folder, stdout=log, stderr=log
        )
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while True:
            with contextlib.suppress(requests.exceptions.ConnectionError):
                if requests.get(f"{url}/version", timeout=5).ok:
                    break
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def search_experiments(session, page):
    "Ask as MLflow's page does, under the public name of the workbench."
    public = {"Host": "workbench.apps.example", "Origin": "https://workbench.apps.example"}
    place = f"{page}ajax-api/2.0/mlflow/experiments/search"
    return session.post(place, json={"max_results": 1}, headers=public, timeout=30)


def test_mlflow_works_in_a_workbench_through_jupyterlab(jupyter, session, monkeypatch, tmp_path):
    monkeypatch.setenv("NB_PREFIX", WORKBENCH)
    with run_mlflow(tmp_path) as url:
        page = jupyter + find_workbench_link(url)
        session.headers["Authorization"] = f"token {TOKEN}"
        html = session.get(page, headers={"Host": "workbench.apps.example"}, timeout=30)
        scripts = re.findall(r'src="([^"]+\.js)"', html.text)
        assert html.status_code == 200 and scripts
        for place in scripts:
            assert session.get(urljoin(page, place), timeout=30).status_code == 200, place
        found = search_experiments(session, page)
        assert found.status_code == 200 and found.json()["experiments"]
