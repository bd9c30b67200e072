from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import until
from tests.end_to_end.daemon import Daemon


def opened(page: Any, url: str, query: str = "") -> None:
    page.goto(url + query)
    until(page, "window.dreamloop?.shown > 0")


def pixels(page: Any) -> bytes:
    return bytes(page.screenshot())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("query", ["", "?gl=0"])
def test_the_pictures_change(page: Any, dream: tuple[Daemon, str], query: str) -> None:
    opened(page, dream[1], query)
    assert page.evaluate("dreamloop.renderer") == ("css" if query else "webgl")
    first, before = page.evaluate("dreamloop.shown"), pixels(page)
    until(page, f"dreamloop.shown > {first} + 5")
    assert pixels(page) != before


def test_the_overlay_opens_for_whoever_is_there_and_closes_again(
    page: Any, dream: tuple[Daemon, str]
) -> None:
    opened(page, dream[1])
    assert not page.locator("#hud").is_visible()
    page.mouse.move(200, 200)
    page.mouse.move(260, 240)
    page.locator("#hud").wait_for(state="visible")
    until(page, "document.getElementById('theme').textContent !== ''")
    assert "frames a second" in page.locator("#line").inner_text()
    page.keyboard.press("Escape")
    page.locator("#hud").wait_for(state="hidden")


def test_the_overlay_never_opens_where_it_is_not_wanted(page: Any, dream: tuple[Daemon, str]) -> None:
    opened(page, dream[1], "?hud=0")
    page.mouse.move(200, 200)
    page.mouse.move(260, 240)
    page.keyboard.press("a")
    assert not page.locator("#hud").is_visible()


def test_space_pauses_the_dream_and_space_lets_it_go_on(page: Any, dream: tuple[Daemon, str]) -> None:
    running, url = dream
    opened(page, url)
    page.keyboard.press("Space")
    running.wait_for(lambda status: status["state"] == "paused")
    until(page, "document.getElementById('pause').textContent === 'Go on'")
    page.keyboard.press("Space")
    running.wait_for(lambda status: status["state"] != "paused")


@pytest.mark.parametrize(
    "query",
    [
        "?fit=blur&rotate=90",
        "?fit=nonsense&fade=x&rotate=45",
        pytest.param("?fit=contain", marks=pytest.mark.long),
        pytest.param("?kenburns&fade=2", marks=pytest.mark.long),
    ],
)
def test_every_wish_in_the_address_shows_pictures(page: Any, dream: tuple[Daemon, str], query: str) -> None:
    opened(page, dream[1], query)
    image = page.screenshot(type="png")
    assert len(image) > 20_000  # a black page is a few kB


def test_a_dead_connection_is_opened_again_and_the_last_picture_stays(
    page: Any, dream: tuple[Daemon, str]
) -> None:
    opened(page, dream[1])
    page.context.set_offline(True)
    until(page, "!dreamloop.linked")
    assert len(page.screenshot()) > 20_000
    seen = page.evaluate("dreamloop.shown")
    page.context.set_offline(False)
    until(page, f"dreamloop.linked && dreamloop.shown > {seen}")


def test_the_page_can_be_installed_and_its_shell_is_kept(page: Any, dream: tuple[Daemon, str]) -> None:
    opened(page, dream[1])
    manifest = page.evaluate("fetch(document.querySelector('link[rel=manifest]').href).then((r) => r.json())")
    assert manifest["display"] == "fullscreen"
    for icon in manifest["icons"]:
        assert page.evaluate(f"fetch('{icon['src']}').then((r) => r.status)") == 200
    until(page, "navigator.serviceWorker.ready.then((r) => r.active !== null)")
    until(page, "caches.open('dreamloop-shell').then((c) => c.keys()).then((k) => k.length > 8)")
