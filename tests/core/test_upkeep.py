from __future__ import annotations

import itertools
import os
from collections.abc import Callable

from backend.core.upkeep import LOOK_S, Upkeep, Usage, own_usage, usage_of

MB = 1_000_000


class Scene:
    def __init__(self, limit: int = 1000 * MB) -> None:
        self.now, self.usage, self.limit = 0.0, Usage(500 * MB, 10, 100), limit
        self.upkeep = Upkeep("Dreamloop", lambda: self.usage, lambda: self.limit, lambda: self.now)

    def look(self, seconds: float) -> str | None:
        """Looks five times a second for so long; the first complaint."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.2
            if (why := self.upkeep.look()) is not None:
                return why
        return None


def test_a_process_within_its_limits_goes_on() -> None:
    assert Scene().look(3600.0) is None


def test_memory_beyond_the_limit_for_half_a_minute_is_a_reason() -> None:
    scene = Scene()
    scene.look(1000.0)
    scene.usage = Usage(1500 * MB, 10, 100)
    assert scene.look(2 * LOOK_S) is None
    why = scene.look(2 * LOOK_S)
    assert why is not None
    assert "1,500 MB" in why
    assert "1,000" in why


def test_a_peak_is_none() -> None:
    scene = Scene()
    scene.look(1000.0)
    for _ in range(5):
        scene.usage = Usage(1500 * MB, 10, 100)
        assert scene.look(2 * LOOK_S) is None
        scene.usage = Usage(500 * MB, 10, 100)
        assert scene.look(LOOK_S) is None


def test_files_nearly_used_up_are_a_reason() -> None:
    scene = Scene()
    scene.look(1000.0)
    scene.usage = Usage(500 * MB, 81, 100)
    why = scene.look(60.0)
    assert why is not None
    assert "81 files" in why


def test_a_limit_that_is_reached_at_once_is_told_and_not_restarted_for() -> None:
    scene = Scene(limit=100 * MB)
    assert scene.look(600.0) is None


def test_another_process_is_given_its_time() -> None:
    scene = Scene()
    scene.look(1000.0)
    scene.usage = Usage(1500 * MB, 10, 100)
    assert scene.look(60.0) is not None
    scene.upkeep.begun_anew()
    assert scene.look(600.0) is None


def test_what_is_not_known_is_no_reason() -> None:
    upkeep = Upkeep("the engine", lambda: None, lambda: 0, ticking())
    assert all(upkeep.look() is None for _ in range(1000))


def ticking() -> Callable[[], float]:
    readings = itertools.count(0.0, 10.0)
    return lambda: next(readings)


def test_real_processes_have_a_size() -> None:
    usage = own_usage()
    assert usage.memory_bytes > 10 * MB
    assert 0 < usage.files < usage.most_files
    found = usage_of([os.getpid()])
    assert found is not None
    assert found.memory_bytes > 10 * MB
    assert usage_of([2**22 - 3]) is None
