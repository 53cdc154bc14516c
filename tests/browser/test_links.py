"""The links that lessons 04 and 05 show open the right pages of MLflow."""

from __future__ import annotations

import re

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.faces import PICTURES
from tests.lessons.test_road import NAME, ask_mlflow


def read_links(road, number: str) -> list[str]:
    """Read the addresses of pages that an executed lesson shows as links."""
    (path,) = road.executed.glob(f"{number}_*.ipynb")
    outputs = [
        output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])
    ]
    pages = "\n".join(output.get("data", {}).get("text/html", "") for output in outputs)
    return re.findall(r'<a href="(http://\S+/#/\S+)"', pages)


@pytest.fixture(scope="module")
def run(road, urls):
    """The run that lesson 04 links to."""
    run_id = read_links(road, "04")[1].rsplit("/", 1)[1]
    return ask_mlflow(urls["mlflow"], "runs/get", run_id=run_id)["run"]["info"]


@pytest.fixture
def page(open_page):
    page, _ = open_page()
    yield page
    page.context.close()


def test_links_lead_to_the_servers_pages(road, urls):
    for number, expected in (("04", ["experiments", "experiments"]), ("05", ["models", "models"])):
        links = read_links(road, number)
        assert [link.split("/")[4] for link in links] == expected
        assert all(link.startswith(f"{urls['mlflow']}/#/") for link in links)


def test_experiment_page_lists_the_run(road, run, page):
    page.goto(read_links(road, "04")[0])
    expect(page.get_by_role("main").get_by_role("link", name=NAME, exact=True).first).to_be_visible()
    row = page.get_by_role("link", name=run["run_name"], exact=True)
    expect(row).to_have_attribute("href", re.compile(run["run_id"]))
    page.screenshot(path=PICTURES / "mlflow-experiment.png")


def test_run_page_shows_the_run(road, run, page):
    page.goto(read_links(road, "04")[1])
    expect(page.get_by_role("heading", name=run["run_name"], exact=True)).to_be_visible()
    expect(page.get_by_role("main").get_by_text(run["run_id"]).first).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^recall "))).not_to_have_count(0)
    page.screenshot(path=PICTURES / "mlflow-run.png")


def test_version_page_shows_name_number_and_run(road, run, page):
    first, link = read_links(road, "05")
    assert first.rsplit("/", 1)[0] == link.rsplit("/", 1)[0]
    number = link.rsplit("/", 1)[1]
    page.goto(link)
    expect(page.get_by_role("heading", name=f"Version {number}", exact=True)).to_be_visible()
    expect(page.get_by_role("main").get_by_role("link", name=NAME, exact=True)).to_be_visible()
    source = page.get_by_role("link", name=run["run_name"], exact=True)
    expect(source).to_have_attribute("href", re.compile(run["run_id"]))
    page.screenshot(path=PICTURES / "mlflow-version.png")
