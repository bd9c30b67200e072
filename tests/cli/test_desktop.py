from __future__ import annotations

import logging
import threading
import webbrowser

import pytest

from backend.cli.desktop import PageOpener

ADDRESS = "http://127.0.0.1:8422/"
GUARD_S = 20.0


class Browser:
    def __init__(self, fails: bool | Exception = False) -> None:
        self.fails, self.asked = fails, threading.Event()
        self.shown: list[str] = []

    def __call__(self, address: str) -> bool:
        self.shown.append(address)
        self.asked.set()
        if isinstance(self.fails, Exception):
            raise self.fails
        return not self.fails


def settled() -> None:
    for thread in threading.enumerate():
        if thread.name == "browser":
            thread.join(GUARD_S)


@pytest.mark.parametrize(
    ("platform", "environ"),
    [("linux", {"DISPLAY": ":0"}), ("linux", {"WAYLAND_DISPLAY": "wayland-0"}), ("darwin", {})],
)
def test_on_a_desktop_the_page_is_opened_once_it_is_served_and_only_once(
    platform: str, environ: dict[str, str]
) -> None:
    browser = Browser()
    opener = PageOpener(environ, browser, platform)
    opener.look(None)
    assert not browser.shown
    for _ in range(3):
        opener.look(ADDRESS)
    assert browser.asked.wait(GUARD_S)
    settled()
    assert browser.shown == [ADDRESS]


def test_without_a_desktop_the_address_is_told_and_nothing_is_started(
    caplog: pytest.LogCaptureFixture,
) -> None:
    browser = Browser()
    opener = PageOpener({"DISPLAY": ""}, browser, "linux")
    opener.look(ADDRESS)
    opener.look(ADDRESS)
    assert not browser.shown
    assert [record.getMessage() for record in caplog.records if ADDRESS in record.getMessage()] == [
        f"there is no desktop here to open a browser on; open {ADDRESS} where there is one"
    ]


@pytest.mark.parametrize("fails", [True, webbrowser.Error("could not locate runnable browser")])
def test_where_no_browser_starts_the_address_is_told(
    fails: bool | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    browser = Browser(fails)
    PageOpener({"DISPLAY": ":0"}, browser, "linux").look(ADDRESS)
    assert browser.asked.wait(GUARD_S)
    settled()
    assert f"open {ADDRESS} in one" in caplog.text
