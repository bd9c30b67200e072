"""Connections are bounded by the files that the process may have open."""

from __future__ import annotations

import resource

import pytest

from backend.errors import DreamloopError
from backend.shim.answers import RefusedError
from backend.shim.room import CONNECTIONS, answered, connections, streams, widen
from backend.shim.viewers import Viewers


class Limits:
    """As many files as a process may open, and as many as it may ask for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.now = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", self.set)

    def set(self, _: int, limits: tuple[int, int]) -> None:
        self.now = limits


@pytest.mark.parametrize(
    ("files", "room"), [(64, 32), (1024, 992), (100_000, CONNECTIONS), (-1, CONNECTIONS), (16, 8)]
)
def test_there_is_room_for_what_files_are_left_for(
    monkeypatch: pytest.MonkeyPatch, files: int, room: int
) -> None:
    Limits(monkeypatch, files, files)
    assert connections() == room
    assert 0 < streams() < answered() < connections()


@pytest.mark.parametrize(("hard", "soft"), [(64, 64), (2000, 2000), (1_000_000, 4096), (-1, 4096)])
def test_more_files_are_asked_for_where_they_may_be_had(
    monkeypatch: pytest.MonkeyPatch, hard: int, soft: int
) -> None:
    limits = Limits(monkeypatch, 64, hard)
    widen()
    assert limits.now == (soft, hard)


def test_viewers_of_all_kinds_together_are_bounded() -> None:
    viewers = Viewers({"streams": 5, "polls": 5}, together=3)
    with viewers.admit("streams"), viewers.admit("streams"), viewers.admit("polls"):
        with pytest.raises(RefusedError, match="viewers") as refused, viewers.admit("polls"):
            raise DreamloopError
        assert refused.value.headers["Retry-After"]
    assert sum(viewers.now.values()) == 0
