"""CLIP in a process of its own: the same answers, and an end of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from backend.cache.aesthetic_matcher import AestheticMatcher
from backend.cache.clip_matcher import ClipMatcher
from backend.cache.clip_process import ClipProcess
from backend.cache.clip_program import told, understood
from backend.cache.clip_weights import FILE, ClipChoice
from backend.errors import MatcherUnfit, PictureRejected
from backend.utils.child_process import Child
from tests.cache.painted import painted, themes
from tests.cache.tiny_clip import tiny_clip

_GUARD_S = 60.0


@pytest.fixture(scope="module")
def choice(tmp_path_factory: pytest.TempPathFactory) -> ClipChoice:
    folder = tiny_clip(tmp_path_factory.mktemp("models") / "tiny")
    return ClipChoice(model=str(folder), device="cpu", batch=2)


@pytest.fixture(scope="module")
def process(choice: ClipChoice) -> Iterator[ClipProcess]:
    running = ClipProcess(choice)
    yield running
    running.close()
    assert running._child.gone.is_set()


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [painted(theme, seed=n) for n, theme in enumerate(themes()[:3])]


def test_it_answers_what_the_matcher_itself_answers(
    choice: ClipChoice, process: ClipProcess, pictures: list[bytes]
) -> None:
    own = ClipMatcher(choice)
    vectors = process.embed(pictures)
    assert (process.identity, process.thresholds) == (own.identity, own.thresholds)
    np.testing.assert_allclose(vectors, own.embed(pictures), atol=1e-5)
    np.testing.assert_allclose(process.scores(vectors, pictures), own.scores(vectors, []), atol=1e-5)
    texts = ["mösses 🌿", "", "aurora"]
    np.testing.assert_allclose(process.embed_texts(texts), own.embed_texts(texts), atol=1e-5)
    assert process.embed([]).shape == (0, own.identity.dimension)


def test_a_picture_that_is_none_is_refused_and_the_next_one_judged(
    process: ClipProcess, pictures: list[bytes]
) -> None:
    with pytest.raises(PictureRejected, match="broken: 10 bytes") as caught:
        process.embed([pictures[0], b"no picture"])
    assert caught.value.reason == "broken"
    assert process.embed(pictures[:1]).shape[0] == 1


def test_it_is_humble(process: ClipProcess) -> None:
    assert psutil.Process(process.pid).nice() > psutil.Process().nice()


@pytest.mark.long
def test_what_cannot_be_had_is_told_by_name(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "tiny")
    (folder / FILE).write_bytes(b"an error page")
    matcher = AestheticMatcher(lambda: ClipProcess(ClipChoice(model=str(folder), device="cpu")))
    matcher.start()
    assert matcher.wait(_GUARD_S)
    assert f"{FILE} is no model" in (matcher.problem or "")
    assert matcher.current.identity.name == "perceptual"


def test_weights_that_are_missing_are_told_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Child, "start", lambda _self: pytest.fail("a process was started"))
    with pytest.raises(MatcherUnfit, match="there is no file"):
        ClipProcess(ClipChoice(weights=str(tmp_path / "gone.safetensors")))


def test_one_that_is_killed_makes_way(choice: ClipChoice, pictures: list[bytes]) -> None:
    matcher = AestheticMatcher(lambda: ClipProcess(choice))
    matcher.start()
    assert matcher.wait(_GUARD_S)
    judging = matcher.current
    assert isinstance(judging, ClipProcess)
    assert judging.pid is not None
    os.kill(judging.pid, signal.SIGKILL)
    assert matcher.judge(pictures[0], "aurora").identity.name == "perceptual"
    assert "failed at work" in (matcher.problem or "")
    assert judging._child.gone.wait(_GUARD_S)


@pytest.mark.long
def test_it_ends_when_nobody_holds_its_input(choice: ClipChoice) -> None:
    orphan = ClipProcess(choice)
    orphan._child.ending = True
    assert orphan._child.process is not None
    assert orphan._child.process.stdin is not None
    orphan._child.process.stdin.close()
    assert orphan._child.gone.wait(_GUARD_S)
    orphan.close()


def test_a_choice_is_understood_as_it_was_told(tmp_path: Path) -> None:
    for choice in (
        ClipChoice(),
        ClipChoice(model="RN50", weights="a/b", may_download=True, folder=tmp_path, head=tmp_path / "h"),
    ):
        assert understood(told(choice)) == choice
    assert replace(understood(told(ClipChoice())), batch=3).batch == 3
