from __future__ import annotations

import errno
import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend.core.memory_chores import Chores, SeedFolder
from backend.errors import MatcherUnfit, StorageError


@dataclass
class Shop:
    """A memory with so many pictures that another matcher has embedded."""

    waiting: int = 0
    ready: bool = True
    worked: list[int | None] = field(default_factory=list)

    def needs_embedding(self, limit: int) -> list[str]:
        return ["one"] * min(limit, self.waiting)

    def rebuild(self, _embed: object, *, limit: int | None = None) -> int:
        self.worked.append(limit)
        done = min(self.waiting, limit or self.waiting)
        self.waiting -= done
        return done


@dataclass
class Seeds:
    """A folder with so many pictures."""

    left: int

    def turn(self) -> bool:
        self.left -= self.left > 0
        return self.left > 0


def _embed(_pictures: object) -> object:
    raise AssertionError("the shop embeds")


def _yes() -> bool:
    return True


def test_nothing_is_embedded_again_while_the_matcher_is_loaded_but_seeds_are_brought_in() -> None:
    shop, seeds, there = Shop(waiting=2), Seeds(3), [False]
    bring = SeedFolder(lambda _: seeds, lambda: (64, 64), lambda: 0.0).turn
    chores = Chores(shop, _embed, bring, lambda: there[0])  # type: ignore[arg-type]
    while chores.turn():
        pass
    assert (seeds.left, shop.waiting) == (0, 2)
    there[0] = True
    while chores.turn():
        pass
    assert shop.waiting == 0


def test_one_seed_is_brought_in_at_a_time_and_then_the_rest_is_done() -> None:
    shop, seeds = Shop(waiting=6), Seeds(3)
    chores = Chores(shop, _embed, SeedFolder(lambda _: seeds, lambda: (64, 64), lambda: 0.0).turn, _yes)  # type: ignore[arg-type]
    assert chores.turn()
    assert (seeds.left, shop.waiting) == (2, 6)
    while chores.turn():
        pass
    assert (seeds.left, shop.waiting) == (0, 0)
    assert max(limit or 0 for limit in shop.worked) <= 4


def test_nothing_is_begun_before_the_memory_is_loaded_and_the_size_is_known() -> None:
    size, begun = [(0, 0)], list[tuple[int, int]]()

    def begin(size_px: tuple[int, int]) -> Seeds:
        begun.append(size_px)
        return Seeds(2)

    shop = Shop(ready=False)
    chores = Chores(shop, _embed, SeedFolder(begin, lambda: size[0], lambda: 0.0).turn, _yes)  # type: ignore[arg-type]
    assert not chores.turn()
    shop.ready = True
    assert not chores.turn()
    size[0] = (64, 32)
    assert chores.turn()
    assert begun == [(64, 32)]


def test_a_folder_that_is_not_there_is_told_once_and_looked_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now, there = [0.0], [False]

    def begin(_size: tuple[int, int]) -> Seeds:
        if not there[0]:
            raise StorageError(Path("/mnt/mine"), OSError(errno.ENOENT, "No such file or directory"))
        return Seeds(2)

    chores = Chores(Shop(), _embed, SeedFolder(begin, lambda: (64, 64), lambda: now[0]).turn, _yes)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        for now[0] in (0.0, 1.0, 61.0, 122.0):
            assert not chores.turn()
    assert [record.getMessage() for record in caplog.records] == [
        "your own pictures cannot be had: /mnt/mine: No such file or directory"
    ]
    there[0], now[0] = True, 190.0
    assert chores.turn()


def test_work_that_is_put_off_again_and_again_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    class Busy(Shop):
        def needs_embedding(self, limit: int) -> list[str]:
            raise MatcherUnfit("another one judges now")

    chores = Chores(Busy(), _embed, None, _yes)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert not any(chores.turn() for _ in range(5))
    assert len(caplog.records) == 1
