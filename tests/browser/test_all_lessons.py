"""Every executed lesson in JupyterLab, as a reader sees it; CI and `pytest --pictures` keep pictures of all."""

from __future__ import annotations

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.faces import PICTURES
from tests.lessons.test_road import NUMBERS

TALL = 5000  # pixels of a picture; a longer lesson has several
OPEN = """async path => {
  const app = window.jupyterapp;
  await app.restored;
  for (const widget of app.shell.widgets('main')) if (widget.context) widget.context.model.dirty = false;
  await app.commands.execute('application:close-all');
  await app.commands.execute('docmanager:open', {path, kernelPreference: {shouldStart: false, canStart: false}});
}"""
LOOK = """notebook => {
  const cells = [...notebook.querySelectorAll('.jp-Cell')];
  const find = (what, isBad) => cells.filter(cell => [...cell.querySelectorAll(what)].some(isBad)).map(cell => cell.innerText.slice(0, 60));
  return {
    wide: find('.jp-RenderedMarkdown, .jp-RenderedHTMLCommon', box => box.scrollWidth > box.clientWidth + 2),
    broken: find('img', picture => !picture.complete || !picture.naturalWidth),
    nameless: find('img, svg[role=img]', picture => ['', 'Image', null].includes(picture.alt ?? picture.getAttribute('aria-label'))),
    errors: find('[data-mime-type="application/vnd.jupyter.stderr"], .jp-mod-error', () => true),
  };
}"""


@pytest.fixture(scope="module")
def reader(lab, open_page):
    """JupyterLab in a page of its own."""
    page, outside = open_page(device_scale_factor=0.75)  # small pictures are drawn sooner, and can be read
    url, token = lab
    page.goto(f"{url}lab?token={token}&reset")
    page.wait_for_function("window.jupyterapp")
    yield page, outside
    page.context.close()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_reader_sees_the_whole_lesson(road, reader, number, pytestconfig):
    """All cells, the diagram, nothing wider than the page, words for each picture, and no request to elsewhere."""
    page, outside = reader
    (path,) = road.executed.glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    page.evaluate(OPEN, f"executed/{path.name}")
    notebook = page.get_by_role("main").locator(".jp-Notebook:visible")
    expect(notebook.locator(".jp-Cell")).to_have_count(len(cells))
    expect(notebook.locator(".jp-RenderedMermaid img")).not_to_have_count(0)
    assert page.locator(".jp-Dialog").all_inner_texts() == []
    seen = notebook.evaluate(LOOK)
    if pytestconfig.getoption("--pictures"):
        take_pictures(page, notebook, path.stem)
    assert not any(seen.values()), seen
    assert outside == []


def take_pictures(page, notebook, name: str) -> None:
    """Keep the whole notebook in pictures."""
    page.set_viewport_size({"width": 1280, "height": TALL})
    scroll = notebook.locator(".jp-WindowedPanel-outer")
    part = 0
    while part * TALL < scroll.evaluate(
        "box => box.scrollHeight"
    ):  # known better with each part that is drawn
        scroll.evaluate("(box, top) => box.scrollTop = top", part * TALL)
        part += 1
        notebook.screenshot(path=PICTURES / f"lesson-{name}-{part}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
