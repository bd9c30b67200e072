from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.cache.manager import CacheManager
from backend.cache.memory_row import Added, NewMemory
from backend.cache.perceptual_matcher import PerceptualMatcher
from backend.cache.policy import MemoryLimits, Policy
from backend.cache.vector_index import open_index
from backend.core.memory_commands import MemoryCommands
from tests.fakes.memory_engine import picture

GUARD_S = 60.0
MATCHER = PerceptualMatcher()


def embed(pictures: Any) -> Any:
    vectors = MATCHER.embed(pictures)
    return vectors, MATCHER.scores(vectors, pictures)


def opened(folder: Path) -> CacheManager:
    return CacheManager.open(
        folder,
        identity=MATCHER.identity,
        limits=MemoryLimits(100, 10**9),
        policy=Policy(admit_below=0.9999),
        index=partial(open_index, exact_limit=1000),
    )


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[CacheManager]:
    with opened(tmp_path / "memory") as memory:
        assert memory.wait_ready(GUARD_S)
        for seed in range(5):
            data = picture(seed)
            (vector,), (score,) = embed([data])
            added = memory.add(NewMemory(data, None, vector, MATCHER.identity, float(score), theme="sea"))
            assert isinstance(added, Added)
        yield memory


@pytest.fixture
def commands(cache: CacheManager) -> MemoryCommands:
    return MemoryCommands(cache, embed, lambda: (64, 40))


def finished(commands: MemoryCommands, **asked: Any) -> dict[str, Any]:
    answer = commands.obey(asked)
    until = time.monotonic() + GUARD_S
    while answer.get("done") is False and time.monotonic() < until:
        answer = commands.obey({"action": "task", "task": answer["task"]})
    json.dumps(answer, allow_nan=False)
    return dict(answer["result"]) if "result" in answer else answer


def test_memories_are_listed_page_by_page(commands: MemoryCommands) -> None:
    first = commands.obey({"action": "ls", "limit": 3})
    rest = commands.obey({"action": "ls", "limit": 3, "offset": 3})
    ids = [memory["id"] for memory in first["memories"] + rest["memories"]]
    assert (len(ids), len(set(ids)), first["entries"]) == (5, 5, 5)
    assert json.loads(json.dumps(first)) == first


def test_one_is_found_by_the_beginning_of_its_id(commands: MemoryCommands) -> None:
    whole = commands.obey({"action": "ls"})["memories"][0]["id"]
    assert commands.obey({"action": "show", "id": whole[:8]})["memory"]["id"] == whole
    assert commands.obey({"action": "show", "id": whole})["memory"]["theme"] == "sea"


@pytest.mark.parametrize("wished", ["", "ab", "zzzzzz", "../../etc"])
def test_an_id_that_means_nothing_is_refused_by_name(commands: MemoryCommands, wished: str) -> None:
    answer = commands.obey({"action": "show", "id": wished})
    assert not answer["ok"]
    assert repr(wished) in answer["error"]


def test_pinned_and_forgotten(commands: MemoryCommands, cache: CacheManager) -> None:
    first, second = (memory["id"] for memory in commands.obey({"action": "ls", "limit": 2})["memories"])
    assert commands.obey({"action": "pin", "id": first})["pinned"] is True
    assert commands.obey({"action": "show", "id": first})["memory"]["pinned"] is True
    assert commands.obey({"action": "unpin", "id": first})["pinned"] is False
    assert commands.obey({"action": "forget", "id": second})["ok"]
    assert cache.get(second) is None
    assert cache.size == 4


def test_a_check_finds_what_is_missing_and_mends_it(
    commands: MemoryCommands, cache: CacheManager, tmp_path: Path
) -> None:
    assert finished(commands, action="check")["whole"]
    lost = cache.iterate(limit=1)[0]
    (tmp_path / "memory" / lost.picture).unlink()
    found = finished(commands, action="check")
    assert not found["whole"]
    assert found["report"]["findings"][0]["where"]
    finished(commands, action="check", repair=True)
    assert finished(commands, action="check")["whole"]
    assert cache.size == 4


def test_an_export_is_brought_into_another_memory(commands: MemoryCommands, tmp_path: Path) -> None:
    assert finished(commands, action="export", path=str(tmp_path / "all.zip"))["exported"] == 5
    with opened(tmp_path / "other") as other:
        assert other.wait_ready(GUARD_S)
        told = finished(
            MemoryCommands(other, embed, lambda: (64, 40)), action="import", path=str(tmp_path / "all.zip")
        )
        assert told["report"]["added"] == 5
        assert other.size == 5


def test_pictures_of_ones_own_become_seeds_of_the_dreams_size(
    commands: MemoryCommands, tmp_path: Path, cache: CacheManager
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    noise = np.random.default_rng(3).integers(0, 255, (30, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((900, 300)).save(own / "holiday.jpg")
    (own / "broken.png").write_text("no picture")
    told = finished(commands, action="import", path=str(own), pictures=True)
    assert len(told["report"]["added"]) == 1
    assert told["report"]["refused"] == 1
    seed = cache.get(told["report"]["added"][0])
    assert seed is not None
    assert (seed.origin, seed.width, seed.height) == ("seed", 64, 40)


def test_all_is_judged_again(commands: MemoryCommands) -> None:
    assert finished(commands, action="rebuild")["embedded"] == 5


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"action": "explode"}, "no such thing"),
        ({"action": "export", "path": "relative.zip"}, "an absolute path"),
        ({"action": "import", "path": "/nowhere/at/all.zip"}, "nowhere"),
        ({"action": "ls", "limit": "many"}, "many"),
        ({"action": "ls", "order": "alphabet"}, "alphabet"),
        ({"action": "task", "task": 99}, "no such task"),
    ],
)
def test_what_makes_no_sense_is_refused_and_said(
    commands: MemoryCommands, asked: dict[str, Any], why: str
) -> None:
    answer = finished(commands, **asked)
    assert not answer["ok"]
    assert why in answer["error"]
