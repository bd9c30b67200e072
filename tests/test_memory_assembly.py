"""The memory while its matcher is still being loaded, comes, or never does."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.cache.matching import Identity
from backend.cache.memory_row import Added, NewMemory
from backend.config import Settings, load_settings
from backend.core.memory_chores import Chores
from backend.memory_assembly import DreamMemory, commands_for, open_memory
from tests.cache import own_matcher
from tests.cache.own_matcher import BrightnessMatcher

GUARD_S = 60.0
MINE, PERCEPTUAL = BrightnessMatcher.identity, "perceptual"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Shut, the matcher is still being loaded."""
    own_matcher.Waits.gate.set()
    yield own_matcher.Waits.gate
    own_matcher.Waits.gate.set()


def settings(folder: Path, matcher: str = "Waits", **memory: object) -> Settings:
    path = folder / "config.yaml"
    asked = {"matcher": f"tests.cache.own_matcher:{matcher}", **memory}
    path.write_text(json.dumps({"storage": {"output": "output", "status": "status"}, "memory": asked}))
    return load_settings(path, {}).settings


def opened(stack: ExitStack, asked: Settings) -> DreamMemory:
    memory, problem = open_memory(asked, stack)
    assert memory is not None, problem
    assert memory.cache.wait_ready(GUARD_S)
    return memory


def settled(memory: DreamMemory) -> None:
    assert memory.matcher.wait(GUARD_S)
    assert memory.settle()
    assert memory.cache.wait_ready(GUARD_S)


def picture(number: int, packed: int = 6) -> bytes:
    """The same pixels for the same number, however they are packed."""
    halves = np.random.default_rng(number).integers(0, 255, (2, 1, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(halves).resize((64, 40), Image.Resampling.NEAREST).save(
        file, "PNG", compress_level=packed
    )
    return file.getvalue()


def remembered(memory: DreamMemory, data: bytes) -> str | None:
    judged = memory.matcher.judge(data, "")
    outcome = memory.cache.add(NewMemory(data, None, judged.embedding, judged.identity, judged.score))
    return outcome.id if isinstance(outcome, Added) else None


def chores(memory: DreamMemory) -> int:
    """Does all that there is to do. Returns how many pieces that was."""
    work, done = Chores(memory.cache, memory.embed, None, memory.settle), 0
    while work.turn() or not memory.cache.wait_ready(GUARD_S):
        done += 1
    return done


def judges_of(memory: DreamMemory) -> set[Identity | None]:
    return {one.identity for one in memory.cache.iterate(limit=200)}


@pytest.fixture
def filled(tmp_path: Path, gate: threading.Event) -> list[str]:
    """A memory that one's own matcher has judged. Its ids."""
    with ExitStack() as stack:
        memory = opened(stack, settings(tmp_path))
        settled(memory)
        return [name for name in (remembered(memory, picture(n)) for n in range(12)) if name]


def test_what_a_matcher_has_embedded_waits_for_it_while_it_is_loaded(
    tmp_path: Path, gate: threading.Event, filled: list[str]
) -> None:
    gate.clear()
    with ExitStack() as stack:
        memory = opened(stack, settings(tmp_path))
        assert chores(memory) == 0
        assert judges_of(memory) == {MINE}
        gate.set()
        settled(memory)
        assert memory.cache.nearest(np.array([1.0, 0.0, 0.0], np.float32), 100)
        assert len(memory.cache.nearest(np.array([1.0, 0.0, 0.0], np.float32), 100)) == len(filled)


def test_a_matcher_that_has_come_is_adopted_though_no_keyframe_does(
    tmp_path: Path, gate: threading.Event, filled: list[str]
) -> None:
    with ExitStack() as stack:
        memory = opened(stack, settings(tmp_path))
        assert memory.matcher.wait(GUARD_S)
        chores(memory)
        assert memory.cache.identity == MINE


def test_a_duplicate_that_nobody_could_tell_while_the_matcher_was_loaded_goes_when_it_comes(
    tmp_path: Path, gate: threading.Event, filled: list[str]
) -> None:
    gate.clear()
    with ExitStack() as stack:
        memory = opened(stack, settings(tmp_path))
        again = [remembered(memory, picture(n, packed=1)) for n in range(5)]
        fresh = remembered(memory, picture(99))
        assert all([*again, fresh]), "let in, since nobody can tell"
        kept = again[0]
        assert kept is not None
        memory.cache.pin(kept, True)
        gate.set()
        settled(memory)
        chores(memory)
        ids = {one.id for one in memory.cache.iterate(limit=200)}
        assert ids == {*filled, fresh, kept}
        assert judges_of(memory) == {MINE}


def test_another_matcher_for_good_embeds_all_and_lets_nothing_go(
    tmp_path: Path, gate: threading.Event, filled: list[str]
) -> None:
    with ExitStack() as stack:
        memory = opened(stack, settings(tmp_path, "AllAlike"))
        settled(memory)
        chores(memory)
        assert judges_of(memory) == {own_matcher.AllAlike.identity}
        assert {one.id for one in memory.cache.iterate(limit=200)} == set(filled)


def answered(asked: Settings, *, judges: bool, **question: Any) -> dict[str, Any]:
    """As `main.py memory ...` asks where no daemon runs."""
    with ExitStack() as stack:
        ask = commands_for(asked, stack, GUARD_S, judges=judges)
        answer, until = ask(question), time.monotonic() + GUARD_S
        while answer.get("done") is False and time.monotonic() < until:
            answer = ask({"action": "task", "task": answer["task"]})
        return dict(answer.get("result", answer))


def test_all_is_left_as_it_is_where_who_should_judge_it_anew_cannot_be_had(
    tmp_path: Path, gate: threading.Event, filled: list[str]
) -> None:
    answer = answered(settings(tmp_path, "Stumbles"), judges=True, action="rebuild")
    assert not answer["ok"]
    assert "memory.matcher: tests.cache.own_matcher:Stumbles cannot be made" in answer["error"]
    with ExitStack() as stack:
        gate.clear()
        assert judges_of(opened(stack, settings(tmp_path))) == {MINE}


def test_all_is_left_as_it_is_where_who_should_judge_it_anew_fails_at_the_first_picture(
    tmp_path: Path, gate: threading.Event, filled: list[str]
) -> None:
    answer = answered(settings(tmp_path, "FailsAtWork"), judges=True, action="rebuild")
    assert not answer["ok"]
    assert "out of memory" in answer["error"]
    with ExitStack() as stack:
        gate.clear()
        assert judges_of(opened(stack, settings(tmp_path))) == {MINE}


def test_an_export_without_a_daemon_carries_the_embeddings_of_whoever_made_them(
    tmp_path: Path, gate: threading.Event, filled: list[str]
) -> None:
    answer = answered(settings(tmp_path), judges=False, action="export", path=str(tmp_path / "all"))
    assert answer["exported"] == len(filled)
    _, *lines = map(json.loads, (tmp_path / "all" / "manifest.jsonl").read_text().splitlines())
    assert {line["identity"]["name"] for line in lines} == {"brightness"}
    assert all(line["vector"] for line in lines)


def test_a_matcher_that_makes_no_sense_costs_nothing_but_its_judgement(
    tmp_path: Path, gate: threading.Event
) -> None:
    with ExitStack() as stack:
        memory = opened(stack, settings(tmp_path, "OneThreshold"))
        settled(memory)
        memory.take(memory.wishes)
        assert remembered(memory, picture(1))
        assert memory.matcher.current.identity.name == PERCEPTUAL
        assert "memory.matcher: tests.cache.own_matcher:OneThreshold has thresholds" in (memory.problem or "")
