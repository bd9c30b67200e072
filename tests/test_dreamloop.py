from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from backend.dreamloop import Dreamloop


@dataclass
class Recorded:
    """Stands for any part: what it is asked for is noted by name, with what was said."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        def ask(*said: Any) -> Any:
            self.asked.append((name, *said))
            return self.answers.get(name)

        return ask


@dataclass
class Supervisor:
    given_up: str | None = None
    stalled: str | None = None
    looks: int = 0

    def look(self, now: float) -> None:
        self.looks += 1


def running(**parts: Any) -> tuple[Dreamloop, Supervisor, Recorded]:
    supervisor, controller = Supervisor(), Recorded()
    writer: Any = Recorded()
    loop: Any = controller
    watched: Any = supervisor
    return Dreamloop(threading.Event(), writer, watched, loop, **parts), supervisor, controller


def test_each_tick_looks_after_the_parts_and_keeps_the_status_fresh() -> None:
    dream, supervisor, controller = running()
    dream.tick()
    dream.tick()
    assert supervisor.looks == 2
    assert dream.writer.asked == [("tick",), ("tick",)]
    assert controller.asked == []


def test_what_cannot_be_kept_going_is_given_up() -> None:
    dream, supervisor, controller = running()
    supervisor.given_up = "the playback fails again and again"
    dream.tick()
    assert controller.asked == [("give_up", "the playback fails again and again")]


@pytest.mark.parametrize(
    ("missed", "grown", "renewal"),
    [
        (None, None, None),
        (None, "it holds 5,000 MB", "it holds 5,000 MB"),
        ("there is room again", "it holds 5,000 MB", "there is room again"),
    ],
)
def test_the_process_begins_anew_for_what_it_missed_or_for_what_it_has_grown_to(
    missed: str | None, grown: str | None, renewal: str | None
) -> None:
    dream, _, _ = running(upkeep=Recorded({"look": grown}), missed=lambda: missed)
    dream.tick()
    assert dream.renewal == renewal


def test_why_it_begins_anew_is_settled_once() -> None:
    whys = iter(["it holds 5,000 MB", "it holds 6,000 MB"])
    dream, _, _ = running(upkeep=Recorded(), missed=lambda: next(whys))
    dream.tick()
    dream.tick()
    assert dream.renewal == "it holds 5,000 MB"


def test_an_engine_that_has_grown_is_begun_anew_and_measured_from_then_on() -> None:
    engine = Recorded({"look": "the engine holds 40,000 MB"})
    dream, _, controller = running(engine_upkeep=engine)
    dream.tick()
    assert controller.asked == [("renew_engine", "the engine holds 40,000 MB")]
    assert engine.asked == [("look",), ("begun_anew",)]


def test_asked_to_reload_it_reads_themes_where_the_settings_have_no_file() -> None:
    dream, _, controller = running()
    assert dream.reload()()
    assert controller.asked == [("look_at_prompts",)]


def test_asked_to_reload_it_tells_when_the_file_has_been_read() -> None:
    watch = Recorded({"ask": 7, "answered": False})
    dream, _, controller = running(watch=watch)
    answered = dream.reload()
    assert not answered()
    watch.answers["answered"] = True
    assert answered()
    assert watch.asked == [("ask",), ("answered", 7), ("answered", 7)]
    assert controller.asked == []
