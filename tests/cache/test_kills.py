"""Killed at any instant while adding: nothing lost that was acknowledged, nothing half there."""

from __future__ import annotations

import random
import select
import subprocess
import sys
from pathlib import Path

import pytest

from backend.cache.check import Flaw
from backend.cache.manager import CacheManager
from backend.cache.picture_files import id_of
from backend.cache.policy import MemoryLimits
from tests.cache import stepper
from tests.cache.memories import GUARD_S, files_in, open_memory

HARMLESS = {Flaw.LONE_FILE, Flaw.HALF_WRITTEN}
"""What a kill may leave: files of an addition that was never acknowledged, or of an eviction nearly done."""


def _killed_while_adding(folder: Path, seed: int, most: int) -> tuple[set[str], set[str]]:
    """Ids that it acknowledged, and those that it told to have evicted."""
    chance = random.Random(seed)
    adder = subprocess.Popen(
        [sys.executable, "-m", "tests.cache.adder", str(folder), str(seed), str(most)],
        stdout=subprocess.PIPE,
        text=False,
        bufsize=0,
    )
    assert adder.stdout is not None
    try:
        assert select.select([adder.stdout], [], [], GUARD_S)[0]
        told = adder.stdout.read(5)
        with pytest.raises(subprocess.TimeoutExpired):
            adder.wait(chance.uniform(0.0, 0.15))
    finally:
        adder.kill()
        adder.wait(GUARD_S)
    told += adder.stdout.read() or b""
    adder.stdout.close()
    whole = told.decode().rpartition("\n")[0].split("\n")[1:]
    return {line for line in whole if line[:1] != "-"}, {line[1:] for line in whole if line[:1] == "-"}


def _whole(folder: Path, most: int, acknowledged: set[str], evicted: set[str]) -> int:
    with open_memory(folder, limits=MemoryLimits(most, 10**9)) as memory:
        found = memory.check()
        assert set(found.counts) <= HARMLESS, found.findings
        ids = _ids(memory)
        # The last eviction may have been done and not been told.
        assert len(acknowledged - evicted - ids) <= (1 if most < 1000 else 0)
        assert not evicted & ids
        for one in ids:
            assert memory.picture(one)
            assert memory.latent(one) is not None
            assert memory.vector(one) is not None
        memory.check(repair=True)
        assert memory.check().whole
        # Of pictures that were just being added or evicted, none is half there.
        assert _files_of_rows(memory) == files_in(folder)
        assert memory.size <= most
        for one in _ids(memory) - ids:
            memory.forget(one)
        return len(ids)


def _files_of_rows(memory: CacheManager) -> set[str]:
    return {
        path for row in memory.iterate(0, 100_000) for path in (row.picture, row.latent) if path is not None
    }


def _ids(memory: CacheManager) -> set[str]:
    return {row.id for row in memory.iterate(0, 100_000)}


def _kill_again_and_again(folder: Path, times: int, most: int, first_seed: int = 0) -> None:
    acknowledged: set[str] = set()
    evicted: set[str] = set()
    for kills, seed in enumerate(range(first_seed, first_seed + 10 * times)):
        if kills >= times and len(acknowledged) > times:  # on a busy machine little is done before a kill
            break
        new, gone = _killed_while_adding(folder, seed, most)
        acknowledged |= new
        evicted |= gone
        entries = _whole(folder, most, acknowledged, evicted)
        with open_memory(folder, limits=MemoryLimits(most, 10**9)) as memory:
            # What was evicted untold, or added untold, is known from now on.
            evicted |= acknowledged - _ids(memory)
            acknowledged |= _ids(memory)
    assert len(acknowledged) > times
    assert entries


def test_kills_while_adding_lose_nothing_acknowledged_and_leave_nothing_half(tmp_path: Path) -> None:
    _kill_again_and_again(tmp_path, 6, most=10_000)


def test_kills_while_adding_and_evicting_leave_each_row_its_files(tmp_path: Path) -> None:
    _kill_again_and_again(tmp_path, 4, most=12)


def test_a_kill_before_any_step_of_an_addition_leaves_it_done_or_undone(tmp_path: Path) -> None:
    before = stepper.fill(tmp_path / "before")
    subprocess.run([sys.executable, "-m", "tests.cache.stepper", str(tmp_path)], timeout=100, check=True)
    outcomes = []
    for step in range(1, len(list(tmp_path.iterdir()))):
        folder = tmp_path / str(step)
        with open_memory(folder) as memory:  # with room, so that nothing is evicted now
            assert set(memory.check().counts) <= HARMLESS, memory.check().findings
            outcomes.append(_ids(memory))
            memory.check(repair=True)
            assert memory.check().whole
            assert _files_of_rows(memory) == files_in(folder)
    after = {before[0], before[2], id_of(stepper.NINTH.picture)}
    undone = outcomes.count(set(before))
    # First nothing of it, then all of it, and there are steps on both sides of the commit.
    assert outcomes == [set(before)] * undone + [after] * (len(outcomes) - undone)
    assert undone > 5
    assert len(outcomes) - undone > 1


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("most", [100_000, 40])
def test_two_hundred_kills_lose_nothing_acknowledged(tmp_path: Path, most: int) -> None:
    for part in range(5):
        _kill_again_and_again(tmp_path / str(part), 20, most, first_seed=20 * part)
