"""Who judges: the strategy asked for, when it is there, and somebody at any time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from backend.cache.aesthetic_matcher import AestheticMatcher, MatcherSettings, matcher_of
from backend.cache.clip_matcher import ClipMatcher
from backend.cache.clip_weights import ClipChoice
from backend.cache.matching import Identity, Thresholds, Vectors
from backend.cache.perceptual_matcher import PerceptualMatcher
from backend.errors import MatcherUnfit, PictureRejected
from tests.cache.own_matcher import BrightnessMatcher
from tests.cache.painted import painted, themes
from tests.cache.tiny_clip import tiny_clip

_GUARD_S = 60.0
_OWN = "tests.cache.own_matcher"


@pytest.fixture(scope="module")
def picture() -> bytes:
    return painted(themes()[0], seed=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipChoice:
    return ClipChoice(model=str(tiny_clip(tmp_path_factory.mktemp("models") / "tiny")), device="cpu")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClipChoice:
    """The usual CLIP, on a machine that has no weights."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return ClipChoice(folder=tmp_path / "kept")


def _settled(load: Callable[[], object]) -> AestheticMatcher:
    matcher = AestheticMatcher(load)  # type: ignore[arg-type]
    matcher.start()
    assert matcher.wait(_GUARD_S)
    return matcher


class _Scripted:
    """Answers what it is told to."""

    identity = Identity("scripted", "1", 2)
    thresholds = Thresholds(0.9, 0.8)

    def __init__(self, row: Sequence[float] = (0.6, 0.8), score: float = 0.5) -> None:
        self.row, self.score = row, score
        self.texts: list[str] = []

    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        return np.array([self.row for _ in pictures], np.float32)

    def scores(self, embeddings: Vectors, pictures: Sequence[bytes]) -> Vectors:
        return np.array([self.score for _ in pictures], np.float32)

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return np.array([[1.0, 0.0] for _ in texts], np.float32)


def test_while_it_loads_pictures_are_judged_without_weights(picture: bytes) -> None:
    may_load = threading.Event()

    def load() -> _Scripted:
        assert may_load.wait(_GUARD_S)
        return _Scripted()

    matcher = AestheticMatcher(load)
    matcher.start()
    early = matcher.judge(picture, "aurora")
    assert not matcher.ready
    may_load.set()
    assert matcher.wait(_GUARD_S)
    late = matcher.judge(picture, "aurora")
    assert matcher.ready
    assert matcher.problem is None
    assert early.identity == PerceptualMatcher().identity
    assert early.shows_prompt is None
    assert late.identity == _Scripted.identity
    assert late.shows_prompt == pytest.approx(0.6)


def test_a_judgement_has_all_that_the_strategy_says(picture: bytes) -> None:
    perceptual = PerceptualMatcher()
    judgement = _settled(PerceptualMatcher).judge(picture, "aurora")
    vectors = perceptual.embed([picture])
    np.testing.assert_array_equal(judgement.embedding, vectors[0])
    assert judgement.score == pytest.approx(float(perceptual.scores(vectors, [picture])[0]))


def test_auto_is_clip_where_its_weights_are_and_tells_whether_a_picture_shows_its_prompt(
    clip: ClipChoice, picture: bytes
) -> None:
    matcher = _settled(matcher_of(MatcherSettings("auto", clip)))
    assert matcher.problem is None
    judgement = matcher.judge(picture, "veils of emerald light")
    own = ClipMatcher(clip)
    wished = float(own.embed([picture])[0] @ own.embed_texts(["veils of emerald light"])[0])
    assert judgement.identity == own.identity
    assert judgement.shows_prompt == pytest.approx(wished, abs=1e-5)
    assert 0.0 <= judgement.score <= 1.0
    matcher.close()


def test_a_prompt_is_read_once_while_it_stays(picture: bytes) -> None:
    scripted = _Scripted()
    matcher = _settled(lambda: scripted)
    for prompt in ("aurora", "aurora", "dunes", "dunes", "aurora"):
        matcher.judge(picture, prompt)
    assert scripted.texts == ["aurora", "dunes", "aurora"]


def test_auto_is_perceptual_where_no_weights_are_and_nothing_is_wrong(nowhere: ClipChoice) -> None:
    matcher = _settled(matcher_of(MatcherSettings("auto", replace(nowhere, may_download=True))))
    assert matcher.current.identity.name == "perceptual"
    assert matcher.ready
    assert matcher.problem is None


def test_auto_tells_of_weights_that_are_named_but_not_there(tmp_path: Path) -> None:
    choice = ClipChoice(weights=str(tmp_path / "gone.safetensors"))
    matcher = _settled(matcher_of(MatcherSettings("auto", choice)))
    assert matcher.current.identity.name == "perceptual"
    assert "gone.safetensors" in (matcher.problem or "")


def test_clip_without_weights_says_why_and_pictures_are_judged_without(
    nowhere: ClipChoice, picture: bytes
) -> None:
    matcher = _settled(matcher_of(MatcherSettings("clip", nowhere)))
    assert not matcher.ready
    assert "downloading is not allowed" in (matcher.problem or "")
    assert matcher.judge(picture, "aurora").identity.name == "perceptual"


def test_a_matcher_of_the_users_own_is_a_class_and_a_line_in_config(picture: bytes) -> None:
    matcher = _settled(matcher_of(MatcherSettings(f"{_OWN}:BrightnessMatcher")))
    judgement = matcher.judge(picture, "aurora")
    assert matcher.problem is None
    assert judgement.identity == BrightnessMatcher.identity
    assert judgement.near == BrightnessMatcher.thresholds.near
    np.testing.assert_array_equal(judgement.embedding, BrightnessMatcher().embed([picture])[0])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("clib", "'clib' is not auto, clip, perceptual or package.module:Class"),
        ("no.such.module:Matcher", "no.such.module:Matcher cannot be made: ModuleNotFoundError"),
        (f"{_OWN}:Missing", "own_matcher:Missing cannot be made: AttributeError"),
        (f"{_OWN}:NoMatcher", "own_matcher:NoMatcher is no matcher: it has no identity, thresholds, embed"),
        (f"{_OWN}:Stumbles", "own_matcher:Stumbles cannot be made: OSError: the moon is in the way"),
        (f":{_OWN}", "cannot be made: ValueError"),
        (f"{_OWN}:Leaves", "own_matcher:Leaves cannot be made: SystemExit: 3"),
        (f"{_OWN}:OneThreshold", "has thresholds that are no Thresholds: 0.9"),
        (f"{_OWN}:ThresholdOfNoNumber", "has thresholds whose duplicate is no number: nan"),
        (f"{_OWN}:ThresholdsUpsideDown", "-1 <= near <= duplicate <= 1: Thresholds(duplicate=0.5, near=0.9)"),
        (f"{_OWN}:ThresholdsThatRaise", "is no matcher: ZeroDivisionError"),
        (f"{_OWN}:IdentityOfText", "has an identity that is no Identity: 'mine'"),
        (f"{_OWN}:NameOfNothing", "has an identity whose name is no short text: ''"),
        (f"{_OWN}:VersionOfNumber", "has an identity whose version is no short text: 1"),
        (f"{_OWN}:HalfADimension", "whose dimension is not a whole number from 1 to 65,536: 2.5"),
        (f"{_OWN}:NothingToCall", "is no matcher: scores cannot be called"),
    ],
)
def test_a_matcher_that_cannot_be_had_is_named(name: str, why: str, picture: bytes) -> None:
    with pytest.raises(MatcherUnfit) as caught:
        matcher_of(MatcherSettings(name))()
    assert why in str(caught.value)
    assert why in (_settled(matcher_of(MatcherSettings(name))).problem or "")


def test_a_dimension_that_numpy_counted_becomes_a_number_that_json_knows() -> None:
    identity = matcher_of(MatcherSettings(f"{_OWN}:CountedByNumpy"))().identity
    assert json.loads(json.dumps(asdict(identity))) == asdict(BrightnessMatcher.identity)


def test_what_a_matcher_says_of_itself_is_read_once(picture: bytes) -> None:
    matcher = _settled(matcher_of(MatcherSettings(f"{_OWN}:Wavers")))
    assert matcher.current.thresholds == matcher.current.thresholds == BrightnessMatcher.thresholds
    assert matcher.judge(picture, "aurora").identity == BrightnessMatcher.identity


def test_a_matcher_that_uses_its_array_again_changes_no_judgement(picture: bytes) -> None:
    scripted = _Scripted()
    again = np.array([[0.6, 0.8]], np.float32)
    scripted.embed = lambda _pictures: again  # type: ignore[method-assign]
    judgement = _settled(lambda: scripted).judge(picture, "aurora")
    again[:] = 0.0
    assert judgement.embedding.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("row", [(float("nan"), 0.0), (3.0, 4.0), (1.0, 0.0, 0.0)])
def test_a_matcher_that_gives_wrong_words_is_not_asked_again(row: tuple[float, ...], picture: bytes) -> None:
    scripted = _Scripted()
    scripted.embed_texts = lambda _texts: np.array([row], np.float32)  # type: ignore[method-assign]
    matcher = _settled(lambda: scripted)
    assert matcher.words("aurora") is None
    assert "scripted 1 (2 numbers) failed at work" in (matcher.problem or "")
    assert matcher.judge(picture, "aurora").shows_prompt is None


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ((1.0, 1.0), "of length 1.41"),
        ((float("nan"), 0.0), "of length nan"),
        ((1.0, 0.0, 0.0), "of shape (1, 3) instead of (1, 2)"),
    ],
)
def test_a_matcher_that_gives_wrong_vectors_is_not_asked_again(
    row: tuple[float, ...], why: str, picture: bytes
) -> None:
    matcher = _settled(lambda: _Scripted(row))
    judgement = matcher.judge(picture, "aurora")
    assert judgement.identity.name == "perceptual"
    assert why in (matcher.problem or "")
    assert not matcher.ready


def test_a_matcher_that_fails_at_work_makes_way(picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = _Scripted()
    matcher = _settled(lambda: scripted)
    matcher.judge(picture, "aurora")

    def fail(_pictures: Sequence[bytes]) -> Vectors:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(scripted, "embed", fail)
    assert matcher.judge(picture, "aurora").identity.name == "perceptual"
    assert "scripted 1 (2 numbers) failed at work: RuntimeError: CUDA error" in (matcher.problem or "")


def test_a_picture_that_is_none_is_nobodys_failure() -> None:
    matcher = _settled(BrightnessMatcher)
    with pytest.raises(PictureRejected):
        matcher.judge(b"no picture", "aurora")
    assert matcher.ready


@pytest.mark.parametrize(("score", "clamped"), [(7.0, 1.0), (-3.0, 0.0), (float("nan"), 0.0), (0.25, 0.25)])
def test_a_score_out_of_range_is_clamped(score: float, clamped: float, picture: bytes) -> None:
    assert _settled(lambda: _Scripted(score=score)).judge(picture, "aurora").score == clamped


def test_memories_are_embedded_with_the_identity_of_whoever_did_it(picture: bytes) -> None:
    vectors, scores, identity = _settled(BrightnessMatcher).appraise([picture, picture])
    assert identity == BrightnessMatcher.identity
    assert vectors.shape == (2, 3)
    assert scores.shape == (2,)


def test_what_a_strategy_holds_is_let_go_when_it_is_closed_and_when_it_fails(picture: bytes) -> None:
    class Holding(_Scripted):
        held = True

        def close(self) -> None:
            self.held = False

    good, bad = Holding(), Holding((2.0, 2.0))
    matcher = _settled(lambda: good)
    matcher.close()
    assert matcher.judge(picture, "aurora").identity.name == "perceptual"
    _settled(lambda: bad).judge(picture, "aurora")
    assert not good.held
    assert not bad.held


def test_a_strategy_that_comes_after_the_end_is_let_go_at_once() -> None:
    may_load = threading.Event()
    gone = threading.Event()

    class Late(_Scripted):
        def close(self) -> None:
            gone.set()

    def load() -> Late:
        assert may_load.wait(_GUARD_S)
        return Late()

    matcher = AestheticMatcher(load)
    matcher.start()
    matcher.close()
    may_load.set()
    assert gone.wait(_GUARD_S)
    assert matcher.current.identity.name == "perceptual"


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys; import backend.cache.aesthetic_matcher; print({'torch', 'open_clip'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=_GUARD_S
    )
    assert done.stdout == "set()\n", done.stderr


def test_two_threads_are_judged_one_after_the_other(picture: bytes) -> None:
    inside = []
    overlaps = []

    class Watched(_Scripted):
        def embed(self, pictures: Sequence[bytes]) -> Vectors:
            inside.append(1)
            overlaps.append(len(inside) > 1)
            BrightnessMatcher().embed(pictures)
            inside.pop()
            return super().embed(pictures)

    matcher = _settled(Watched)
    threads = [threading.Thread(target=lambda: [matcher.judge(picture, "a") for _ in range(5)]) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_GUARD_S)
    assert len(overlaps) == 10
    assert not any(overlaps)
