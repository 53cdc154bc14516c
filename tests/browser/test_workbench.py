"""In a workbench the browser reaches JupyterLab alone: app and MLflow come through it, under its public name."""

from __future__ import annotations

import re
import shutil
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from fraud_demo.app import TITLE
from fraud_demo.core import PageLink
from tests.browser.faces import PICTURES
from tests.unit.test_app_proxy import TOKEN, WORKBENCH, double, jupyter, run_app, run_mlflow

__all__ = ["double", "jupyter"]  # fixtures

PUBLIC = "workbench.example"


@pytest.fixture
def workbench(chromium, jupyter, monkeypatch):
    """A page that is logged in to JupyterLab by its public name, and a function that follows a lesson's link."""
    monkeypatch.setenv("NB_PREFIX", WORKBENCH)
    port = urlsplit(jupyter).port
    rules = f"MAP {PUBLIC}:{port} 127.0.0.1:{port}, MAP * ~NOTFOUND"
    alone = chromium.browser_type.launch(
        executable_path=shutil.which("chromium"), args=["--no-proxy-server", f"--host-resolver-rules={rules}"]
    )
    page = alone.new_page()
    page.set_default_timeout(40_000)
    page.goto(f"http://{PUBLIC}:{port}{WORKBENCH}/api/status?token={TOKEN}")

    def follow(link: PageLink) -> None:
        (path,) = re.findall('href="([^"]+)"', link._repr_html_())
        page.goto(f"http://{PUBLIC}:{port}{path}")

    yield page, follow
    alone.close()


def test_app_decides_in_a_workbench(workbench, double):
    page, follow = workbench
    with run_app(double) as url:
        follow(PageLink(f"{url}/"))
        expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
        page.get_by_role("button", name="Online, far from the last payment").click()
        page.get_by_role("button", name="Predict", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="The fraud probability")).to_be_visible()
        page.screenshot(path=PICTURES / "workbench-app.png")


def test_mlflow_lists_its_experiments_in_a_workbench(workbench, tmp_path):
    page, follow = workbench
    with run_mlflow(tmp_path) as url:
        follow(PageLink(f"{url}/#/experiments"))
        expect(page.get_by_role("link", name="Default", exact=True).first).to_be_visible()
        page.screenshot(path=PICTURES / "workbench-mlflow.png")
