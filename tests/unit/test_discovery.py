"""Lesson 01: every place is asked, every failure gets its own diagnosis, and nothing secret is shown."""

import contextlib
import dataclasses
import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from fraud_demo import discovery
from fraud_demo.core import InputError, MissingStepError, ServiceError, Settings
from fraud_demo.discovery import (
    API,
    DIAGNOSES,
    IN_CLUSTER,
    OWN_SOURCES,
    RESOURCE,
    SERVICE,
    STACK,
    Candidate,
    connect_mlflow,
    diagnose,
    experiment_url,
    find_mlflow,
    make_headers,
    model_url,
    probe_mlflow,
    read_address,
    run_together,
    run_url,
    search_resource,
    search_service,
)
from tests.conftest import find_kubectl

GOOD = json.dumps({"experiments": [{"experiment_id": "0", "name": "Default"}]})
HOST_REFUSAL = "Invalid Host header - possible DNS rebinding attack detected"
CLUSTER_HOST = "mlflow-server.mlflow.svc.cluster.local"
SEARCHED = (RESOURCE, SERVICE, IN_CLUSTER, STACK)
T = 3.0  # seconds to wait for an answer that does come


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """No setting, no cluster, no command and no proxy, unless a test adds it."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "KUBE")) or name.lower().endswith("_proxy") or "CA_BUNDLE" in name:
            monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(discovery, "SERVICE_ACCOUNT", tmp_path / "serviceaccount")


@pytest.fixture
def bare(tmp_path):
    """Settings that name nothing."""
    return Settings(home=tmp_path / "home")


@pytest.fixture
def resolve_all(monkeypatch):
    """Every name is this machine."""
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kw: real("127.0.0.1", *args, **kw))


@contextlib.contextmanager
def serve(routes, context=None):
    """Serve `path -> (status, body, headers)`; yield the address and the requests that came."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, dict(self.headers)))
            answer = routes(self) if callable(routes) else routes.get(self.path, (404, "<h1>Not Found</h1>"))
            status, body, *headers = answer
            data = body if isinstance(body, bytes) else body.encode()
            self.send_response(status)
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def find_free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def explain(error):
    """Return everything that an error can show."""
    table = getattr(error, "table", "")
    html = table._repr_html_() if table else ""
    return "\n".join([str(error), repr(error), *error._render_traceback_(), str(table), html])


# Addresses


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (f"{CLUSTER_HOST}:8080", f"http://{CLUSTER_HOST}:8080"),
        ("mlflow.redhat-ods-applications.svc:8443", "https://mlflow.redhat-ods-applications.svc:8443"),
        ("mlflow.apps.example.com", "https://mlflow.apps.example.com"),
        ("mlflow.apps.example.com:443/mlflow/", "https://mlflow.apps.example.com:443/mlflow"),
        (" http://127.0.0.1:5000// ", "http://127.0.0.1:5000"),
        ("HTTP://LocalHost:5000/Path", "http://localhost:5000/Path"),
        ("localhost:5000", "http://localhost:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("https://gateway.example/mlflow/#/experiments/1?x=1", "https://gateway.example/mlflow"),
        ("https://gateway.example/mlflow?workspace=a", "https://gateway.example/mlflow"),
    ],
)
def test_an_address_is_read(text, url):
    assert read_address(text).url == url


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("sqlite:///mlflow.db", "sqlite"),
        ("postgresql+psycopg2://ann:s3cret@db.example/mlflow", "postgresql+psycopg2"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks"),
        ("file:/tmp/mlruns", "file"),
        ("uc:http://x", "uc"),
        ("s3://bucket/key", "s3"),
        ("./mlruns", "cannot be read"),
        ("/tmp/mlruns", "cannot be read"),
        ("~/mlruns", "cannot be read"),
        ("http://", "cannot be read"),
        ("http://:5000", "cannot be read"),
        ("http://host:99999", "cannot be read"),
        ("http://host:port", "cannot be read"),
        ("http://a b:5000", "cannot be read"),
        ("http://host:5000/a\nb", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("   ", "cannot be read"),
    ],
)
def test_what_is_no_server_is_refused(bare, text, word):
    with pytest.raises(InputError) as caught:
        find_mlflow(dataclasses.replace(bare, mlflow_tracking_uri=text))
    assert caught.value.what == "MLFLOW_TRACKING_URI does not name an MLflow server."
    assert word in caught.value.why
    assert "http://mlflow.example:8080" in caught.value.fix
    assert "s3cret" not in explain(caught.value)


hosts = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z0-9]{1,10}){0,3}", fullmatch=True)


@limits(max_examples=200, deadline=None)
@given(
    scheme=st.sampled_from(["", "http://", "https://"]),
    login=st.sampled_from(["", "ann:hidden-password@", "hidden-password@"]),
    host=hosts,
    port=st.one_of(st.none(), st.integers(1, 65535)),
    path=st.sampled_from(["", "/", "/mlflow", "/mlflow/", "/a/b//"]),
)
def test_reading_an_address_twice_changes_nothing(scheme, login, host, port, path):
    address = read_address(f"{scheme}{login}{host}{'' if port is None else f':{port}'}{path}")
    assert read_address(address.url) == dataclasses.replace(address, login=None)
    assert not address.url.endswith("/") and "@" not in address.url
    assert "hidden-password" not in repr(address)
    assert address.url.startswith(scheme or ("https://" if port in (None, 443, 8443) else "http://"))


# Diagnoses


def check(found, kind, outcome, fix):
    assert (found.kind, found.outcome, found.fix) == (kind, outcome, fix)


def test_a_good_server_is_recorded_with_its_version():
    with serve({API: (200, GOOD), "/version": (200, "3.17.2\n")}) as (url, seen):
        found = probe_mlflow("you", f"{url}/", T)
    assert found == Candidate("you", url, "good", "MLflow 3.17.2 answers.", "", "3.17.2")
    assert [path for path, _ in seen] == [API, "/version"]


def test_a_server_that_hides_its_version_is_good_when_it_lists_experiments():
    with serve({API: (200, GOOD), "/version": (200, "<html>login</html>")}) as (url, _):
        found = probe_mlflow("you", url, T)
    assert (found.kind, found.version) == ("good", None)


def test_an_empty_answer_needs_a_version():
    with serve({API: (200, "{}"), "/version": (200, "3.4.0")}) as (url, _):
        assert probe_mlflow("you", url, T).kind == "good"
    with serve({API: (200, "{}")}) as (url, _):
        assert probe_mlflow("you", url, T).kind == "not_mlflow"


def test_health_alone_is_never_enough():
    with serve({"/health": (200, "OK"), "/version": (200, "not told")}) as (url, _):
        assert probe_mlflow("you", url, T).kind == "no_api"


LOGIN_FIX = (
    "Set MLFLOW_TRACKING_TOKEN, for example to what `oc whoami -t` prints, "
    "or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
)
PAGE = "A web page came where JSON belongs: a login page, or another site."
PAGE_FIX = "Set MLFLOW_TRACKING_TOKEN, use the service inside the cluster, or correct the address."
POD_FIX = "Read its log; behind a route, check that its pod is ready: `oc get pods -n mlflow`."
NOT_MLFLOW = "An answer came ({}), and it is not one of MLflow's API."


@pytest.mark.parametrize(
    ("routes", "kind", "outcome", "fix"),
    [
        (
            {API: (403, HOST_REFUSAL), "/health": (200, "OK")},
            "host_refused",
            "The API refuses the name 127.0.0.1 (403 Invalid Host header), while /health says 200.",
            "Start the server with --allowed-hosts '127.0.0.1,127.0.0.1:*,localhost,localhost:*'.",
        ),
        ({API: (401, "no")}, "login", "The server wants a login (401).", LOGIN_FIX),
        ({API: (403, "no")}, "login", "The server wants a login (403).", LOGIN_FIX),
        ({API: (200, "\n<!doctype html><html></html>")}, "web_page", PAGE, PAGE_FIX),
        ({API: (302, "", {"Location": "https://login.example/oauth"})}, "web_page", PAGE, PAGE_FIX),
        (
            {"/version": (200, "no version")},
            "no_api",
            "The server has no MLflow API (404), nor one below /mlflow.",
            "Correct the address.",
        ),
        (
            {"/version": (200, "1.20.2")},
            "too_old",
            "MLflow 1.20.2 is too old for this workbook.",
            "Upgrade the server to MLflow 3.",
        ),
        (
            {API: (200, GOOD), "/version": (200, "2.22.1")},
            "too_old",
            "MLflow 2.22.1 is too old for this workbook.",
            "Upgrade the server to MLflow 3.",
        ),
        ({API: (503, "<html>")}, "server_error", "The server answers with an error (503).", POD_FIX),
        ({API: (200, '{"items": []}')}, "not_mlflow", NOT_MLFLOW.format(200), "Correct the address."),
        ({API: (200, "[1]")}, "not_mlflow", NOT_MLFLOW.format(200), "Correct the address."),
        ({API: (200, '{"experiments": 1}')}, "not_mlflow", NOT_MLFLOW.format(200), "Correct the address."),
        ({API: (200, "OK")}, "not_mlflow", NOT_MLFLOW.format(200), "Correct the address."),
        ({API: (200, b"\xff\xfe\x00")}, "not_mlflow", NOT_MLFLOW.format(200), "Correct the address."),
        ({API: (418, "tea")}, "not_mlflow", NOT_MLFLOW.format(418), "Correct the address."),
    ],
)
def test_an_answer_gets_its_diagnosis(routes, kind, outcome, fix):
    with serve(routes) as (url, _):
        check(probe_mlflow("you", url, T), kind, outcome, fix)


def test_a_port_that_wants_tls_and_says_so():
    body = "Client sent an HTTP request to an HTTPS server."
    with serve({API: (400, body)}) as (url, _):
        found = probe_mlflow("you", url, T)
    port = url.rpartition(":")[2]
    check(
        found,
        "tls_wanted",
        f"Port {port} of 127.0.0.1 speaks TLS only.",
        "Write https:// in place of http://.",
    )


def test_an_old_version_text_is_not_believed_when_it_is_a_page():
    with serve({"/version": (200, "<b>1.2</b>" * 9999)}) as (url, _):
        assert probe_mlflow("you", url, T).version is None


def test_a_refused_login_is_told_from_a_missing_one(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hidden-token")
    with serve({API: (401, "no")}) as (url, seen):
        found = probe_mlflow("you", url, T)
    check(found, "login_refused", "The server refuses the login (401).", "Renew it, or ask for access.")
    assert seen[0][1]["Authorization"] == "Bearer hidden-token"


@pytest.mark.parametrize(
    "front", [(404, "<h1>Not Found</h1>"), (200, "<html>dashboard</html>"), (302, "", {"Location": "/ui"})]
)
def test_the_prefix_of_openshift_ai_is_found(front):
    routes = {API: front, f"/mlflow{API}": (200, GOOD), "/mlflow/version": (200, "3.10.1")}
    with serve(routes) as (url, _):
        found = probe_mlflow("you", url, T)
    assert (found.kind, found.url, found.version) == ("good", f"{url}/mlflow", "3.10.1")


def test_a_login_below_the_prefix_is_reported_as_such():
    with serve({f"/mlflow{API}": (401, "no")}) as (url, _):
        found = probe_mlflow("you", url, T)
    assert (found.kind, found.url) == ("login", f"{url}/mlflow")


def test_a_refused_connection():
    port = find_free_port()
    found = probe_mlflow("you", f"127.0.0.1:{port}", T)
    check(
        found,
        "refused",
        f"Nothing listens on port {port} of 127.0.0.1.",
        "Check that the server runs, and the port.",
    )


def test_a_name_that_does_not_resolve():
    found = probe_mlflow("you", "http://nowhere.invalid:8080", T)
    check(
        found,
        "unknown_name",
        "The name nowhere.invalid does not resolve.",
        "Check the spelling, and whether you need a VPN.",
    )


@pytest.mark.parametrize("name", [CLUSTER_HOST, "mlflow-server.mlflow.svc"])
def test_a_cluster_name_from_outside(name, monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    check(
        probe_mlflow("you", f"{name}:8080", T),
        "cluster_name",
        f"The name {name} does not resolve; such names exist inside the cluster only.",
        "Outside the cluster use the external route; inside it look for the name with `oc get svc -A`.",
    )


@pytest.mark.parametrize(
    "place", ["http://[", "https://127.0.0.1:99999/", "https://127.0.0.1:abc/", "/\xe9", "//["]
)
def test_a_redirect_to_nowhere_is_a_diagnosis(place):
    with serve({API: (302, "", {"Location": place})}) as (url, _):
        found = probe_mlflow("you", url, T)
    assert found.kind not in ("good", "not_tried") and found.outcome


@pytest.mark.parametrize(
    "answers", [{API: (200, "[" * 100_000)}, {API: (200, GOOD), "/version": (200, "1" * 5000 + ".0")}]
)
def test_an_answer_without_an_end_is_a_diagnosis(answers):
    with serve(answers) as (url, _):
        assert probe_mlflow("you", url, T).outcome


def test_a_version_is_believed_from_a_good_answer_alone():
    with serve({API: (200, GOOD), "/version": (401, "1.1")}) as (url, _):
        assert probe_mlflow("you", url, T).kind == "good"


def test_hosts_that_no_name_can_have_are_diagnosed():
    for host in ("a..b", "x" * 70):
        assert probe_mlflow("you", f"http://{host}", T).kind not in ("good", "not_tried")


def test_a_silent_server_times_out():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        began = time.monotonic()
        found = probe_mlflow("you", f"127.0.0.1:{listener.getsockname()[1]}", 0.4)
    check(
        found,
        "timed_out",
        "127.0.0.1 gave no answer within 0.4 seconds.",
        "Check that the server runs, and that no firewall or network policy is in the way.",
    )
    assert 0.3 < time.monotonic() - began < 2


def test_a_trickling_server_and_a_slow_name_do_not_hold_up_the_search(bare, monkeypatch):
    stop = threading.Event()

    def trickle(handler):
        while not stop.wait(0.1):
            handler.wfile.write(b"H")
        return 200, ""

    with serve(trickle) as (url, _):
        began = time.monotonic()
        with pytest.raises(ServiceError, match="gave no answer within 0.4 seconds"):
            find_mlflow(bare, explicit=url, timeout_s=0.4)
        assert time.monotonic() - began < 2
        stop.set()

    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(3))
    began = time.monotonic()
    with pytest.raises(ServiceError, match="gave no answer within 0.2 seconds"):
        find_mlflow(bare, explicit="http://slow.example:1", timeout_s=0.2)
    assert time.monotonic() - began < 2


def test_a_connection_that_breaks_off():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def hang_up():
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(1000)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        found = probe_mlflow("you", f"127.0.0.1:{listener.getsockname()[1]}", T)
    check(
        found,
        "broken_off",
        "The connection to 127.0.0.1 broke off.",
        "Check the port, and whether it wants https://.",
    )


def test_a_proxy_in_the_way(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{find_free_port()}")
    check(
        probe_mlflow("you", "http://mlflow.example:8080", T),
        "proxy",
        "The proxy does not let mlflow.example through.",
        "Add mlflow.example to NO_PROXY, or correct HTTPS_PROXY.",
    )


def test_a_redirect_to_tls_on_the_same_host_is_followed_and_the_token_stays_there(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hidden-token")
    tls_port = find_free_port()
    with serve({}) as (stranger, seen):
        for target, kind in (
            (f"https://127.0.0.1:{tls_port}{API}", "refused"),
            (f"{stranger}{API}", "web_page"),
        ):
            routes = {API: (302, "", {"Location": target})}
            with serve(routes) as (url, _):
                found = probe_mlflow("you", url, T)
            assert found.kind == kind
            assert found.url == (f"https://127.0.0.1:{tls_port}" if kind == "refused" else url)
    assert seen == []


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority of the tests, and a function that makes server contexts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)

    def make(name, issuer=None, days=1, address=None, is_authority=False):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[0].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=5))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if issuer:
            own = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key())
            builder = builder.add_extension(own, critical=False)
        if address:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        if is_authority:
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                 "key_agreement", "encipher_only", "decipher_only"), False)  # fmt: skip
            builder = builder.add_extension(
                x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
            )
        return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key

    root = make("Test authority", is_authority=True)
    pem = folder / "ca.pem"
    pem.write_bytes(root[0].public_bytes(serialization.Encoding.PEM))

    def make_context(days=1, address="127.0.0.1"):
        certificate, key = make("server", root, days, address)
        path = folder / f"server{days}-{address}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    return pem, make_context


def test_an_unknown_authority_and_the_bundle_that_mends_it(authority, bare):
    pem, make_context = authority
    with serve({API: (200, GOOD), "/version": (200, "3.17.2")}, make_context()) as (url, _):
        check(
            probe_mlflow("you", url, T),
            "unknown_authority",
            "The certificate of 127.0.0.1 is signed by an authority that this machine does not know.",
            "Set FRAUD_DEMO_CA_BUNDLE to a file with the certificate of that authority.",
        )
        route = find_mlflow(dataclasses.replace(bare, mlflow_route=url, ca_bundle=str(pem)), timeout_s=T)
    assert route.url == url


def test_the_bundle_wins_over_the_one_of_the_environment(authority, bare, monkeypatch, tmp_path):
    pem, make_context = authority
    other = tmp_path / "other.pem"
    other.write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    with serve({API: (200, GOOD)}, make_context()) as (url, _):
        settings = dataclasses.replace(bare, mlflow_route=url, ca_bundle=str(pem))
        assert find_mlflow(settings, timeout_s=T).url == url


def test_the_bundle_of_the_mlflow_client_counts(authority, bare, monkeypatch):
    pem, make_context = authority
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(pem))
    with serve({API: (200, GOOD)}, make_context()) as (url, _):
        assert find_mlflow(bare, explicit=url, timeout_s=T).url == url


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_read_is_named(bare, tmp_path, content):
    path = tmp_path / "bundle.pem"
    if content:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        find_mlflow(dataclasses.replace(bare, ca_bundle=str(path)), explicit="https://mlflow.example")
    assert caught.value.why == f"FRAUD_DEMO_CA_BUNDLE names {path}."


@pytest.mark.parametrize(
    ("words", "kind", "outcome"),
    [
        ({"address": "127.0.0.9"}, "other_name", "The certificate is not made for 127.0.0.1."),
        ({"days": -1}, "expired", "The certificate of 127.0.0.1 is out of date."),
    ],
)
def test_a_certificate_that_is_wrong_though_its_authority_is_known(authority, words, kind, outcome):
    pem, make_context = authority
    with serve({API: (200, GOOD)}, make_context(**words)) as (url, seen):
        found = probe_mlflow("you", url, T, verify=str(pem))
    assert (found.kind, found.outcome) == (kind, outcome)
    assert seen == [], "nothing was sent to a server that could not prove who it is"


def test_a_certificate_for_another_host_name(authority, resolve_all):
    pem, make_context = authority
    with serve({API: (200, GOOD)}, make_context()) as (url, _):
        found = probe_mlflow("you", url.replace("127.0.0.1", "mlflow.example"), T, verify=str(pem))
    check(
        found,
        "other_name",
        "The certificate is not made for mlflow.example.",
        "Use the name that it is made for.",
    )


def test_tls_asked_of_a_plain_server_and_the_other_way_round(authority):
    with serve({API: (200, GOOD)}) as (url, _):
        found = probe_mlflow("you", url.replace("http://", "https://"), T)
    port = url.rpartition(":")[2]
    check(
        found,
        "no_tls",
        f"Port {port} of 127.0.0.1 does not speak TLS.",
        "Write http:// in place of https://.",
    )
    with serve({API: (200, GOOD)}, authority[1]()) as (url, _):
        assert probe_mlflow("you", url.replace("https://", "http://"), T).kind in ("broken_off", "tls_wanted")


# Logins


def test_the_login_that_is_sent_is_the_one_the_mlflow_client_would_send(monkeypatch, tmp_path):
    assert make_headers() == {}
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hidden-token\n")
    assert make_headers() == {"Authorization": b"Bearer hidden-token"}
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    assert make_headers() == {"Authorization": b"Bearer hidden-token"}, "a user without a password is none"
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
    assert make_headers() == {"Authorization": b"Basic YW5uOmhpZGRlbg=="}
    assert make_headers(("bob", "x")) == {"Authorization": b"Basic Ym9iOng="}


def test_a_pod_of_openshift_ai_logs_in_with_its_own_token(monkeypatch, tmp_path):
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("pod-token\n")
    (account / "namespace").write_text("team-a")
    assert make_headers() == {}, "nobody asked for it"
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "kubernetes")
    assert make_headers() == {"Authorization": b"Bearer pod-token"}
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "kubernetes-namespaced")
    assert make_headers() == {"Authorization": b"Bearer pod-token", "X-MLFLOW-WORKSPACE": b"team-a"}
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-b")
    assert make_headers()["X-MLFLOW-WORKSPACE"] == b"team-b"


def test_no_secret_is_shown_anywhere(bare, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hidden-token")
    shown = []
    answers = (
        (200, GOOD),
        (401, "hidden-body"),
        (403, HOST_REFUSAL),
        (500, "hidden-body"),
        (200, "<p>hidden-body"),
    )
    for answer in answers:
        with serve({API: answer, "/version": (200, "3.17.2")}) as (url, seen):
            text = url.replace("http://", "http://ann:hidden-password@")
            try:
                route = find_mlflow(dataclasses.replace(bare, mlflow_route=text), timeout_s=T)
            except ServiceError as error:
                shown.append(explain(error))
            else:
                shown += [str(route), repr(route), route._repr_html_(), json.dumps(route.to_dict())]
                assert route.login == ("ann", "hidden-password")
            assert seen[0][1]["Authorization"].startswith("Basic "), "the login of the address is used"
    with pytest.raises(ServiceError) as caught:
        find_mlflow(bare, explicit=f"ann:hidden-password@127.0.0.1:{find_free_port()}", timeout_s=T)
    shown.append(explain(caught.value))
    assert len(shown) == 9
    assert "hidden" not in "\n".join(shown)


# The order of the search


def kinds(route):
    return {candidate.source: candidate.kind for candidate in route.candidates}


def test_the_explicit_address_wins_then_the_standard_variable_then_the_route(bare):
    with serve({API: (200, GOOD), "/version": (200, "3.17.2")}) as (url, _):
        every = dataclasses.replace(bare, mlflow_tracking_uri=f"{url}/uri", mlflow_route=f"{url}/route")
        with pytest.raises(ServiceError, match=r"/uri \(MLFLOW_TRACKING_URI\)"):
            find_mlflow(every, timeout_s=T)
        route = find_mlflow(every, explicit=url, timeout_s=T)
        assert (route.url, route.source, route.version) == (url, "explicit argument", "3.17.2")
        assert [c.source for c in route.candidates] == [*OWN_SOURCES, *SEARCHED]
        assert [c.kind for c in route.candidates] == ["good", *["not_tried"] * 6]
        assert route.candidates[2].outcome == "Not tried: explicit argument comes first."
        alone = find_mlflow(dataclasses.replace(bare, mlflow_route=url), timeout_s=T)
        assert alone.source == "MLFLOW_ROUTE"
        assert alone.candidates[1].outcome == "Not tried: you did not set it."


def test_an_address_that_you_set_is_never_replaced(bare):
    with serve({API: (200, GOOD), "/version": (200, "3.17.2")}) as (url, seen):
        settings = dataclasses.replace(
            bare,
            mlflow_tracking_uri=f"http://127.0.0.1:{find_free_port()}",
            mlflow_route=url,
            stack={"mlflow": url},
        )
        with pytest.raises(ServiceError) as caught:
            find_mlflow(settings, timeout_s=T)
    assert caught.value.what.startswith("MLflow cannot be used at http://127.0.0.1:")
    assert caught.value.why.startswith("Nothing listens on port")
    assert [c.kind for c in caught.value.candidates] == ["not_tried", "refused", *["not_tried"] * 5]
    assert seen == []


def test_the_local_stack_is_used_when_nothing_is_set(bare):
    with serve({API: (200, GOOD), "/version": (200, "3.17.2")}) as (url, _):
        route = find_mlflow(dataclasses.replace(bare, stack={"mlflow": url}), timeout_s=T)
    assert (route.url, route.source, route.login) == (url, STACK, None)
    assert route.table.rows[3][2] == "Not tried: there is no oc or kubectl on this machine."
    assert str(route) == f"MLflow 3.17.2 at {url} (local stack)"
    assert route._repr_html_().count("<tr>") == 8
    assert json.loads(json.dumps(route.to_dict()))["candidates"][-1]["kind"] == "good"


def test_settings_are_read_from_the_environment(monkeypatch):
    with serve({API: (200, GOOD), "/version": (200, "3.17.2")}) as (url, _):
        monkeypatch.setenv("MLFLOW_ROUTE", url.removeprefix("http://"))
        assert find_mlflow(timeout_s=T).url == url


def test_nothing_found_says_what_to_do(bare):
    with pytest.raises(ServiceError) as caught:
        find_mlflow(bare, timeout_s=T)
    error = caught.value
    assert error.what == "No MLflow server was found."
    assert error.why == "No address is set, no cluster is in reach, and the local stack is not started."
    assert error.fix == "Run `fraud-demo up`, or set MLFLOW_ROUTE to the address of a server."
    assert len(error.candidates) == len(error.table.rows) == 7
    assert "  - local stack: Not tried: `fraud-demo up` did not start it." in error._render_traceback_()


def test_a_stack_that_went_down_says_so(bare):
    port = find_free_port()
    with pytest.raises(ServiceError) as caught:
        find_mlflow(dataclasses.replace(bare, stack={"mlflow": f"http://127.0.0.1:{port}"}), timeout_s=T)
    assert caught.value.why == f"local stack: Nothing listens on port {port} of 127.0.0.1."
    assert caught.value.candidates[-1].fix == "Run `fraud-demo up`: it starts what is down."


def test_a_stack_that_answers_wrongly_keeps_its_own_advice(bare):
    with serve({API: (401, "no")}) as (url, _), pytest.raises(ServiceError) as caught:
        find_mlflow(dataclasses.replace(bare, stack={"mlflow": url}), timeout_s=T)
    assert caught.value.candidates[-1].fix == LOGIN_FIX


def test_the_name_in_the_cluster_is_tried_in_a_pod_only(bare, monkeypatch):
    real = socket.getaddrinfo
    with serve({API: (200, GOOD), "/version": (200, "3.4.0")}) as (url, seen):
        port = int(url.rpartition(":")[2])
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setattr(discovery, "IN_CLUSTER_URL", f"http://{CLUSTER_HOST}:{port}")
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kw: real("127.0.0.1", *args, **kw))
        route = find_mlflow(bare, timeout_s=T)
    assert (route.url, route.source) == (f"http://{CLUSTER_HOST}:{port}", IN_CLUSTER)
    assert seen[0][1]["Host"] == f"{CLUSTER_HOST}:{port}"


def test_tasks_run_side_by_side_and_their_faults_are_not_swallowed():
    three = threading.Barrier(3)
    arrived = run_together([lambda: three.wait(30)] * 6, 3)  # one after the other nobody would get past it
    assert sorted(arrived) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ZeroDivisionError):
        run_together([lambda: 1 / 0], 3)


# The cluster's own commands


def write_command(tmp_path, body, name="kubectl"):
    path = tmp_path / "bin" / name
    path.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n{body}\n')
    path.chmod(0o755)


@pytest.fixture
def configured(monkeypatch, tmp_path):
    config = tmp_path / "kubeconfig"
    config.write_text("{}")
    monkeypatch.setenv("KUBECONFIG", str(config))


def test_without_a_cluster_no_command_runs(tmp_path):
    write_command(tmp_path, "exit 1")
    [found] = search_service(T)
    assert (found.kind, found.outcome) == ("not_tried", "Not tried: no cluster is configured.")
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize("where", ["file", "pod"])
def test_a_cluster_is_configured_in_other_ways_too(tmp_path, monkeypatch, where):
    write_command(tmp_path, "exit 1")
    if where == "file":
        (tmp_path / ".kube").mkdir()
        (tmp_path / ".kube" / "config").write_text("{}")
    else:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert search_service(T)[0].kind == "command_failed"


def test_oc_is_preferred(tmp_path, configured):
    write_command(tmp_path, "exit 1")
    write_command(tmp_path, f"printf '127.0.0.1 {find_free_port()}'", "oc")
    assert search_service(T)[0].kind == "refused"


def test_every_port_of_the_service_is_tried(tmp_path, configured, bare):
    with serve({API: (200, GOOD), "/version": (200, "3.4.0")}) as (url, _):
        dead, port = find_free_port(), url.rpartition(":")[2]
        write_command(tmp_path, f'[ "$2" = svc ] && printf "127.0.0.1 {dead} {port}" || exit 1')
        found = search_service(T)
        assert [c.kind for c in found] == ["refused", "good"]
        with serve({API: (200, GOOD), "/version": (200, "3.17.2")}) as (stack, _):
            route = find_mlflow(dataclasses.replace(bare, stack={"mlflow": stack}), timeout_s=T)
    assert (route.url, route.source) == (url, SERVICE), "the cluster comes before the local stack"
    assert kinds(route)[STACK] == "good"
    call = (tmp_path / "calls").read_text().splitlines()[0]
    assert call.startswith("get svc mlflow-server -n mlflow -o go-template --template {{.metadata.name}}.")


def test_the_resource_gives_an_external_and_an_internal_address(tmp_path, configured, bare):
    with serve({f"/mlflow{API}": (200, GOOD), "/mlflow/version": (200, "3.10.1")}) as (url, _):
        status = {"url": f"http://127.0.0.1:{find_free_port()}/mlflow", "address": {"url": f"{url}/mlflow/"}}
        write_command(tmp_path, f"""[ "$2" = svc ] && exit 1\necho '{json.dumps({"status": status})}'""")
        route = find_mlflow(dataclasses.replace(bare, stack={"mlflow": "http://127.0.0.1:1"}), timeout_s=T)
    assert (route.url, route.source) == (f"{url}/mlflow", RESOURCE)
    assert [c.kind for c in route.candidates if c.source == RESOURCE] == ["refused", "good"]


@pytest.mark.parametrize(
    ("body", "kind", "outcome", "fix"),
    [
        (
            """echo 'Error from server (NotFound): services "mlflow-server" not found' >&2; exit 1""",
            "no_resource",
            "The cluster has no service mlflow-server.",
            "Look for it with `kubectl get svc mlflow-server -n mlflow`, or set MLFLOW_ROUTE.",
        ),
        (
            """echo 'Error from server (Forbidden): services "mlflow-server" is forbidden: User' >&2; exit 1""",
            "forbidden",
            "You may not read the service mlflow-server.",
            "Ask for view rights, or set MLFLOW_ROUTE.",
        ),
        (
            "echo 'error: You must be logged in to the server (Unauthorized)' >&2; exit 1",
            "cluster_login",
            "The cluster does not know you.",
            "Log in with `oc login`.",
        ),
        (
            "echo 'The connection to the server localhost:8080 was refused' >&2; exit 1",
            "cluster_silent",
            "The cluster gave no answer.",
            "Check the cluster, your VPN and KUBECONFIG.",
        ),
        (
            "echo 'token hidden-token exploded' >&2; exit 3",
            "command_failed",
            "The command for the service mlflow-server failed.",
            "Run `kubectl get svc mlflow-server -n mlflow` and read its message.",
        ),
        (
            "printf 'mlflow-server.mlflow.svc.cluster.local'",
            "not_ready",
            "The service has no address yet.",
            "Wait until `oc get svc mlflow-server -n mlflow` shows one.",
        ),
        (
            "printf '<no value> \\377 8080'",
            "unreadable",
            "What was found there is no address.",
            "Set MLFLOW_ROUTE by hand.",
        ),
    ],
)
def test_a_command_that_fails_gets_its_diagnosis(tmp_path, configured, body, kind, outcome, fix):
    write_command(tmp_path, body)
    found = search_service(T)[0]
    check(found, kind, outcome, fix)


@pytest.mark.parametrize(
    ("printed", "kind"),
    [
        ("{}", "not_ready"),
        ('{"status": {"url": ""}}', "not_ready"),
        ("[]", "unreadable"),
        ("oops", "unreadable"),
    ],
)
def test_a_resource_without_an_address(tmp_path, configured, printed, kind):
    write_command(tmp_path, f"echo '{printed}'")
    assert [c.kind for c in search_resource(T)] == [kind]


def test_a_cluster_without_openshift_ai(tmp_path, configured):
    write_command(
        tmp_path, """echo 'error: the server doesn'"'"'t have a resource type "mlflows"' >&2; exit 1"""
    )
    assert search_resource(T)[0].outcome == "The cluster has no MLflow resource."


@pytest.mark.parametrize("how", ["exec sleep 6", "sleep 6"])
def test_a_command_that_hangs_does_not_hold_up_the_local_stack(tmp_path, configured, bare, monkeypatch, how):
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    write_command(tmp_path, how, "oc")
    with serve({API: (200, GOOD), "/version": (200, "3.17.2")}) as (url, _):
        began = time.monotonic()
        route = find_mlflow(dataclasses.replace(bare, stack={"mlflow": url}), timeout_s=0.5)
    assert route.source == STACK
    assert time.monotonic() - began < 4
    assert kinds(route)[RESOURCE] == kinds(route)[SERVICE] == "cluster_silent"


@contextlib.contextmanager
def serve_cluster(tmp_path, monkeypatch):
    """A small stand-in for the API of a cluster, and a configuration that names it; gives what it holds."""
    group = "mlflow.opendatahub.io"
    objects = {
        "/api/v1/namespaces/mlflow/services/mlflow-server": {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": "mlflow-server", "namespace": "mlflow"},
            "spec": {"ports": [{"name": "http", "port": 8080}, {"name": "oauth", "port": 8443}]},
        },
        f"/apis/{group}/v1/mlflows/mlflow": {
            "kind": "MLflow",
            "apiVersion": f"{group}/v1",
            "metadata": {"name": "mlflow"},
            "status": {"url": "https://gateway.invalid/mlflow"},
        },
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {
                    "name": group,
                    "versions": [{"groupVersion": f"{group}/v1", "version": "v1"}],
                    "preferredVersion": {"groupVersion": f"{group}/v1", "version": "v1"},
                }
            ],
        },
        "/api/v1": {
            "kind": "APIResourceList",
            "groupVersion": "v1",
            "resources": [
                {"name": "services", "singularName": "service", "shortNames": ["svc"], "namespaced": True,
                 "kind": "Service", "verbs": ["get", "list"]},
            ],
        },
        f"/apis/{group}/v1": {
            "kind": "APIResourceList",
            "groupVersion": f"{group}/v1",
            "resources": [
                {"name": "mlflows", "singularName": "mlflow", "namespaced": False, "kind": "MLflow",
                 "verbs": ["get", "list"]},
            ],
        },
    }  # fmt: skip

    def answer(handler):
        found = objects.get(handler.path.partition("?")[0])
        if isinstance(found, int):
            return found, json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": found,
                                      "reason": {401: "Unauthorized", 403: "Forbidden"}.get(found, "Odd"),
                                      "message": "hidden-token"}), {"Content-Type": "application/json"}  # fmt: skip
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                   "message": 'services "mlflow-server" not found'}  # fmt: skip
        return (200 if found else 404), json.dumps(found or missing), {"Content-Type": "application/json"}

    with serve(answer) as (url, _):
        cluster = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
        }
        (tmp_path / "config").write_text(json.dumps(cluster))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        yield objects


SERVICE_OBJECT = "/api/v1/namespaces/mlflow/services/mlflow-server"


@pytest.fixture(params=["client", "kubectl"])
def reader(request, tmp_path, monkeypatch):
    """Who reads from the cluster: the Kubernetes client, or the real kubectl where there is no client."""
    if request.param == "kubectl":
        (tmp_path / "bin" / "kubectl").symlink_to(find_kubectl())
        monkeypatch.setitem(sys.modules, "kubernetes", None)
    return request.param


def test_service_and_resource_are_read_from_a_cluster(tmp_path, monkeypatch, reader):
    with serve_cluster(tmp_path, monkeypatch) as objects:
        services, [resource] = search_service(10), search_resource(10)
        assert [c.url for c in services] == [f"http://{CLUSTER_HOST}:8080", f"https://{CLUSTER_HOST}:8443"]
        assert {c.kind for c in services} == {"cluster_name"}
        assert (resource.url, resource.kind) == ("https://gateway.invalid/mlflow", "unknown_name")
        objects[SERVICE_OBJECT]["spec"]["ports"] = []
        assert search_service(10)[0].outcome == "The service has no address yet."
        del objects[SERVICE_OBJECT]
        assert search_service(10)[0].outcome == "The cluster has no service mlflow-server."


@pytest.mark.parametrize(
    ("status", "kind", "outcome", "fix"),
    [
        (401, "cluster_login", "The cluster does not know you.", "Log in with `oc login`."),
        (
            403,
            "forbidden",
            "You may not read the service mlflow-server.",
            "Ask for view rights, or set MLFLOW_ROUTE.",
        ),
    ],
)
def test_a_cluster_that_refuses(tmp_path, monkeypatch, reader, status, kind, outcome, fix):
    with serve_cluster(tmp_path, monkeypatch) as objects:
        objects[SERVICE_OBJECT] = status
        [found] = search_service(10)
        check(found, kind, outcome, fix)
        assert "hidden-token" not in repr(found)


def test_without_a_cluster_its_client_is_not_even_loaded():
    code = (
        "import sys; from fraud_demo.discovery import search_service; print(search_service(1)[0].outcome);"
        "print('kubernetes' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["Not tried: there is no oc or kubectl on this machine.", "False"]


def test_a_cluster_that_is_gone(tmp_path, monkeypatch, reader):
    with serve_cluster(tmp_path, monkeypatch):
        pass
    for [found] in (search_service(5), search_resource(5)):
        assert (found.kind, found.outcome) == ("cluster_silent", "The cluster gave no answer.")


# A real MLflow


ALLOWED = f"{CLUSTER_HOST},{CLUSTER_HOST}:*,localhost,localhost:*,127.0.0.1,127.0.0.1:*"


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Two real servers: one with the flag that a diagnosis names, one below a prefix with the default hosts."""
    folder = tmp_path_factory.mktemp("mlflow")
    started, urls = [], {}
    extra = {
        "mended": ["--allowed-hosts", ALLOWED],
        "prefix": ["--static-prefix", "/mlflow"],
        "guarded": ["--app-name", "basic-auth"],
    }
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        "admin_username = ann\nadmin_password = hidden-password-1\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environ = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "hidden-key",
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    try:
        for name, arguments in extra.items():
            home, port = folder / name, find_free_port()
            home.mkdir()
            command = [Path(sys.executable).with_name("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port),
                       "--workers", "1", "--backend-store-uri", f"sqlite:///{home}/mlflow.db",
                       "--artifacts-destination", str(home / "artifacts"), *arguments]  # fmt: skip
            with open(home / "log", "wb") as log:
                started.append(subprocess.Popen(command, env=environ, cwd=home, stdout=log, stderr=log,
                                                start_new_session=True))  # fmt: skip
            urls[name] = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 120
        for name, url in urls.items():
            while probe_mlflow("test", url, 2.0).kind != ("login" if name == "guarded" else "good"):
                assert time.monotonic() < end, (folder / name / "log").read_text()
                time.sleep(0.3)
        yield urls
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: nothing else is in the group
            process.wait(20)


@pytest.fixture
def client():
    """The MLflow client, put back as it was."""
    import mlflow

    yield mlflow
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def test_the_default_hosts_of_a_real_server_do_not_hold_a_cluster_name(real, bare, resolve_all):
    port = real["prefix"].rpartition(":")[2]
    with pytest.raises(ServiceError) as caught:
        find_mlflow(bare, explicit=f"{CLUSTER_HOST}:{port}/mlflow", timeout_s=10)
    assert caught.value.why == (
        f"The API refuses the name {CLUSTER_HOST} (403 Invalid Host header), while /health says 200."
    )
    assert caught.value.fix == f"Start the server with --allowed-hosts '{ALLOWED}'."


def test_the_flag_that_the_diagnosis_names_mends_a_real_server(real, bare, resolve_all):
    port = real["mended"].rpartition(":")[2]
    for host in (CLUSTER_HOST, "localhost", "127.0.0.1"):
        assert find_mlflow(bare, explicit=f"{host}:{port}", timeout_s=10).url == f"http://{host}:{port}"
    with pytest.raises(ServiceError, match=r"refuses the name other.example \(403"):
        find_mlflow(bare, explicit=f"other.example:{port}", timeout_s=10)


def test_a_real_server_below_a_prefix_is_found_and_its_client_works_there(real, bare, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", real["prefix"])
    route = connect_mlflow(timeout_s=10)
    assert route.url == f"{real['prefix']}/mlflow"
    assert route.version == client.__version__
    assert client.get_tracking_uri() == client.get_registry_uri() == route.url
    assert [e.name for e in client.search_experiments()] == ["Default"]
    assert os.environ["MLFLOW_TRACKING_URI"] == real["prefix"], "your own wish is left as it was"


def test_a_real_server_with_a_login(real, bare, client, monkeypatch):
    url = real["guarded"]
    with pytest.raises(ServiceError) as caught:
        find_mlflow(bare, explicit=url, timeout_s=10)
    assert caught.value.why == "The server wants a login (401)."
    assert caught.value.fix == (
        "Set MLFLOW_TRACKING_TOKEN, for example to what `oc whoami -t` prints, "
        "or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    )
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden-guess")
    with pytest.raises(ServiceError, match=r"The server refuses the login \(401\)") as caught:
        find_mlflow(bare, explicit=url, timeout_s=10)
    assert "hidden" not in str(caught.value) + str(caught.value.table)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden-password-1")
    assert find_mlflow(bare, explicit=url, timeout_s=10).version == client.__version__


def test_connecting_leaves_no_wish_behind(real, bare, client):
    first = connect_mlflow(dataclasses.replace(bare, stack={"mlflow": real["mended"]}), timeout_s=10)
    assert first.source == STACK
    assert "MLFLOW_TRACKING_URI" not in os.environ and "MLFLOW_REGISTRY_URI" not in os.environ
    second = connect_mlflow(dataclasses.replace(bare, mlflow_route=real["prefix"]), timeout_s=10)
    assert second.source == "MLFLOW_ROUTE" and client.get_tracking_uri() == second.url


def test_connecting_hands_login_and_certificates_to_the_client(authority, bare, client, monkeypatch):
    pem, make_context = authority
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_SERVER_CERT_PATH"):
        monkeypatch.setenv(name, "")  # so that it is put back after the test
    with serve(lambda handler: (200, GOOD), make_context()) as (url, seen):
        text = url.replace("https://", "https://ann:hidden-password@")
        connect_mlflow(dataclasses.replace(bare, mlflow_route=text, ca_bundle=str(pem)), timeout_s=T)
        probed = seen[0][1]["Authorization"]
        seen.clear()
        assert [e.name for e in client.search_experiments()] == ["Default"]
    assert probed.startswith("Basic ")
    assert seen[-1][1]["Authorization"] == probed


def test_the_login_of_one_address_is_not_sent_to_another(bare, client, monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with serve({API: (200, GOOD)}) as (first, _), serve({API: (200, GOOD)}) as (second, seen):
        text = first.replace("http://", "http://alice:secret@")
        connect_mlflow(dataclasses.replace(bare, mlflow_route=text), timeout_s=T)
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"
        connect_mlflow(dataclasses.replace(bare, mlflow_route=second), timeout_s=T)
        assert seen and not any("Authorization" in headers for _, headers, *_ in seen)
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_without_the_client_the_error_names_the_extra(bare, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with (
        serve({API: (200, GOOD)}) as (url, _),
        pytest.raises(MissingStepError, match=r"fraud-demo\[registry\]"),
    ):
        connect_mlflow(dataclasses.replace(bare, mlflow_route=url), timeout_s=T)


# The rest


def test_links_escape_what_they_are_given(bare):
    with serve({API: (200, GOOD)}) as (url, _):
        route = find_mlflow(bare, explicit=url, timeout_s=T)
    assert experiment_url(route, "7") == f"{url}/#/experiments/7/runs"
    assert run_url(route, "7", "abc") == f"{url}/#/experiments/7/runs/abc"
    assert model_url(route, "a model/ü") == f"{url}/#/models/a%20model%2F%C3%BC"
    assert model_url(route, "m", 3) == f"{url}/#/models/m/versions/3"


def test_every_diagnosis_is_two_sentences_that_can_be_filled():
    words = dict.fromkeys(("timeout_s",), 1.0) | dict.fromkeys(
        ("version", "health", "allowed", "status", "why", "what", "command"), "X"
    )
    for kind in DIAGNOSES:
        found = diagnose(Candidate("you", "https://mlflow.example"), kind, **words)
        assert found.outcome.endswith(".") and "{" not in found.outcome + found.fix
        assert found.fix.endswith(".") or kind in ("good", "not_tried")


def test_the_import_is_light():
    code = "import sys, fraud_demo.discovery; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "requests" in loaded
    assert not loaded & {
        "mlflow",
        "pandas",
        "tensorflow",
        "kubernetes",
        "nbdev",
        "fastcore",
        "gradio",
        "IPython",
    }
