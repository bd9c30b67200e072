from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import WAIT_MS, until
from tests.end_to_end.daemon import Daemon

SECTIONS = ("now", "memory", "themes", "settings", "log")


def opened(page: Any, url: str, section: str = "now") -> None:
    page.goto(f"{url}studio#{section}")
    until(page, "document.getElementById('pill').dataset.mood !== undefined")


def serious(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_what_somebody_says_turns_the_dream(page: Any, dream: tuple[Daemon, str]) -> None:
    running, url = dream
    opened(page, url)
    page.fill("#say-text", "<b>a red lighthouse</b>")
    page.click("#say button[type=submit]")
    asked = running.wait_for(lambda status: status["prompts"]["said"] is not None)
    turned = running.wait_for(lambda status: status["dream"]["theme"] == "said")
    assert turned["dream"]["keyframes"] - asked["dream"]["keyframes"] <= 3
    until(page, "document.getElementById('now-prompt').textContent === '<b>a red lighthouse</b>'")
    assert page.locator("#now-prompt b").count() == 0  # text, not markup


def test_the_gallery_shows_keeps_folds_in_and_forgets(page: Any, dream: tuple[Daemon, str]) -> None:
    _, url = dream
    opened(page, url, "memory")
    until(page, "document.querySelectorAll('#gallery img').length >= 2")
    until(
        page, "[...document.querySelectorAll('#gallery img')].some((i) => i.complete && i.naturalWidth > 0)"
    )
    page.locator("#gallery button").first.click()
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("button", name="Let go").wait_for()
    page.get_by_role("button", name="Fold in now").click()
    until(page, "document.getElementById('toast').textContent.includes('folded in')")
    until(page, "document.querySelector('#gallery .tag')?.textContent === 'kept'")
    before = page.locator("#gallery li").count()
    page.locator("#gallery button").last.click()
    page.get_by_role("button", name="Forget", exact=True).click()
    page.get_by_role("button", name="Forget it").click()
    until(page, f"document.querySelectorAll('#gallery li').length === {before - 1}")


def test_a_theme_is_tried_and_a_bad_edit_is_told_with_its_line(page: Any, dream: tuple[Daemon, str]) -> None:
    running, url = dream
    opened(page, url, "themes")
    card = page.locator("#themes li", has_text="frost")
    card.get_by_role("button", name="Try now").click()
    running.wait_for(lambda status: status["dream"]["theme"] == "frost")
    card.get_by_role("button", name="Edit").click()
    page.locator("#theme-text").fill("name: frost\nweight: heavy\npositive: rime\n")
    page.get_by_role("button", name="Save").click()
    until(page, "document.querySelector('.problems')?.textContent.includes('line 2')")
    page.get_by_role("button", name="Leave it").click()


def test_the_log_is_there(page: Any, dream: tuple[Daemon, str]) -> None:
    opened(page, dream[1], "log")
    until(page, "document.querySelectorAll('#log li').length > 1")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.long), "dark"])
def test_axe_finds_no_serious_fault(page: Any, dream: tuple[Daemon, str], scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    for section in SECTIONS:
        opened(page, dream[1], section)
        page.wait_for_timeout(300)  # what fades in has come
        assert serious(page) == []
    page.goto(dream[1])
    until(page, "window.dreamloop?.shown > 0")
    page.keyboard.press("h")
    page.locator("#hud").wait_for(state="visible")
    page.wait_for_timeout(500)
    assert serious(page) == []


def test_the_phone_layout_holds(browser: Any, dream: tuple[Daemon, str]) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    for section in SECTIONS:
        opened(page, dream[1], section)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, f"{section} is {width} px wide"
        small = page.evaluate(
            "[...document.querySelectorAll('main button, main select, nav a')].filter((e) => e.offsetParent)"
            ".filter((e) => e.getBoundingClientRect().height < 32).map((e) => e.outerHTML.slice(0, 80))"
        )
        assert small == []
    context.close()


def test_everything_can_be_reached_by_keyboard(page: Any, dream: tuple[Daemon, str]) -> None:
    opened(page, dream[1])
    reached: list[str] = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.hash || ''"))
    assert {"#memory", "#log", "do-pause", "do-next", "do-stop", "say-text", "say-seconds"} <= set(reached)
