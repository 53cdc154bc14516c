"""Chromium, JupyterLab with lesson 07 executed in it, and the two faces of the form, for all tests of this folder."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from contextlib import suppress
from urllib.parse import urlsplit

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from playwright.sync_api import Error, expect, sync_playwright

from fraud_demo.core import load_settings
from fraud_demo.serving import EndpointScorer
from tests.browser.faces import MANY, PICTURES, Face
from tests.conftest import BIN, ROOT

WAIT_MS = 40_000  # tests in another process may keep the machine busy
BROWSER = pytest.StashKey()
LAB_SETTINGS = {  # no questions about news, the colors of the system, and no cell that waits for an idle machine
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "apputils-extension/themes": {"adaptive-theme": True},
    "notebook-extension/tracker": {"windowingMode": "none"},
}

expect.set_options(timeout=WAIT_MS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep a picture of the page that a failed test saw, and say where it is."""
    report = yield
    browser = item.config.stash.get(BROWSER, None)
    if report.failed and browser and browser.contexts and browser.contexts[-1].pages:
        page = browser.contexts[-1].pages[-1]
        path = PICTURES / f"failed-{re.sub(r'[^a-z0-9]+', '-', item.name.lower()).strip('-')}.png"
        with suppress(Error):  # a page that died gives no picture
            page.screenshot(path=path)
        report.sections.append(("what the test saw", f"{page.url.split('?')[0]}\n{path}"))
    return report


@pytest.fixture(scope="package")
def chromium(request):
    """Chromium, able to reach 127.0.0.1 and nothing else; it ends before the tests of other folders begin."""
    if not (path := shutil.which("chromium")):
        reason = "chromium not found: .ci/packages installs the Debian package"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES.glob("*.png"):
        picture.unlink()
    alone = ["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=alone)
        request.config.stash[BROWSER] = browser
        yield browser
        del request.config.stash[BROWSER]
        browser.close()


@pytest.fixture(scope="package")
def open_page(chromium):
    """A function that opens an empty page, and gives it with the list of requests that nothing answers."""

    def open_page(**options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(WAIT_MS)
        outside = []

        def note(request):
            if urlsplit(request.url).hostname not in ("127.0.0.1", None):  # None: data in the address itself
                outside.append(request.url)

        context.on("request", note)
        return context.new_page(), outside

    return open_page


@pytest.fixture(scope="package")
def urls(road):
    """The addresses of the stack's services by name."""
    return {name: service["url"] for name, service in road.status()["services"].items()}


@pytest.fixture(scope="package")
def scorer(road):
    """Who decides, asked from this process."""
    settings = load_settings({**os.environ, "FRAUD_DEMO_HOME": str(road.home)})
    return EndpointScorer(settings.endpoint, model_name=settings.served_name)


@pytest.fixture
def open_app(open_page, urls):
    """A function that opens the Gradio app."""
    opened = []

    def open_app(**options) -> Face:
        page, outside = open_page(**options)
        opened.append(page.context)
        page.goto(urls["app"])
        face = Face("app", page, page.locator("body"), "body.dark", "Enter", outside)
        face.button.wait_for()
        return face

    yield open_app
    for context in opened:
        context.close()


@pytest.fixture
def app(open_app):
    """The Gradio app."""
    return open_app()


@pytest.fixture(scope="package")
def lab(road, tmp_path_factory):
    """A JupyterLab with settings of its own on a copy of the lessons, executed ones beside them: its address and token."""
    folder, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(16)
    ignored = shutil.ignore_patterns(".ipynb_checkpoints")
    lessons = shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=ignored)
    shutil.copytree(road.executed, lessons / "executed", ignore=shutil.ignore_patterns("*.html"))
    (folder / "jupyter_data_dir").mkdir()
    notary = NotebookNotary(data_dir=str(folder / "jupyter_data_dir"))
    for path in (lessons / "executed").glob("*.ipynb"):  # or JupyterLab would clean their outputs
        notary.sign(nbformat.read(path, as_version=4))
    for name, values in LAB_SETTINGS.items():
        settings = folder / "jupyterlab_settings_dir" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(values))
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
             "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")  # fmt: skip
    environ = road.environ | {name: str(folder / name.lower()) for name in names} | {"JUPYTER_TOKEN": token}
    command = [BIN / "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
               "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={lessons}"]  # fmt: skip
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (found := list(folder.glob("jupyter_runtime_dir/jpserver-*.json"))):
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield json.loads(found[0].read_text())["url"], token
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:  # it may wait for a kernel that does not end
            server.kill()
            server.wait()


@pytest.fixture(scope="package")
def lesson(lab, open_page):
    """Lesson 07 in JupyterLab, opened and run to its end by the keyboard: its page, and requests to elsewhere."""
    url, token = lab
    page, outside = open_page(
        viewport={"width": 1280, "height": 1700}
    )  # a picture of the panel needs it whole
    page.goto(f"{url}lab/tree/07_app.ipynb?token={token}")
    page.get_by_role("button", name=re.compile(r"\| Idle$")).wait_for()  # the kernel, in the status bar
    page.keyboard.press("Control+Shift+C")
    expect(page.locator(".lm-CommandPalette-input")).to_be_focused()
    page.keyboard.type("Run All Cells")
    expect(page.locator(".lm-CommandPalette-item.lm-mod-active")).to_contain_text("Run All Cells")
    page.keyboard.press("Enter")
    last = page.locator(".jp-CodeCell .jp-InputPrompt").last.filter(has_text=re.compile(r"\[\d+\]"))
    error = page.locator("[data-mime-type='application/vnd.jupyter.error']")
    expect(last.or_(error.first)).to_be_attached(timeout=4 * WAIT_MS)
    return page, outside


@pytest.fixture(scope="package")
def panel_cell(lesson):
    """The cell that shows the panel, reached with the arrow keys from the last one."""
    page, _ = lesson
    button = page.get_by_role("button", name="Predict", exact=True)
    cell = page.locator(".jp-CodeCell", has=button)
    for _ in range(2 * MANY):
        if "jp-mod-active" in cell.get_attribute("class"):
            return cell
        page.keyboard.press("ArrowUp")
    raise AssertionError("The cell with the panel cannot be reached with the arrow keys.")


@pytest.fixture
def panel(lesson, panel_cell):
    """The panel of lesson 07; the focus is on its cell."""
    page, outside = lesson
    panel_cell.focus()
    area = panel_cell.locator(".jp-Cell-outputWrapper")
    return Face("panel", page, area, "body[data-jp-theme-light=false]", "Space", outside)


@pytest.fixture(params=["app", "panel"])
def face(request):
    """Each face in turn."""
    return request.getfixturevalue(request.param)
