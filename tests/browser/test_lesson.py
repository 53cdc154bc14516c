"""Lesson 07 in JupyterLab."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from fraud_demo.app import TITLE
from tests.browser.faces import PICTURES


def test_every_cell_runs_without_an_error(lesson):
    page, _ = lesson
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").all_text_contents() == []
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_text_contents() == []
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()
    assert len(prompts) > 30 and all(re.fullmatch(r"\[\d+\]:", prompt) for prompt in prompts), prompts


def test_link_in_the_lesson_opens_the_app(panel, urls):
    page = panel.page
    link = page.get_by_role("link", name=urls["app"], exact=True)
    assert link.get_attribute("href") == urls["app"]
    panel.tab_to(link)
    with page.expect_popup() as popup:
        page.keyboard.press("Enter")
    expect(popup.value.get_by_role("heading", name=TITLE)).to_be_visible()
    popup.value.close()


def test_lesson_asks_nobody_outside(lesson, panel):
    page, outside = lesson
    page.screenshot(path=PICTURES / "lab.png")
    assert outside == []
