"""**AestheticMatcher**: picture -> embedding, score, and whether it shows its prompt.

How pictures are judged is a strategy (`Matcher`), chosen by name. It is loaded on a thread of its own; until
it is there, and if it cannot be had, pictures are judged without weights. Every judgement carries the
identity of whoever made it, so that nothing of two strategies is compared.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from backend.cache.clip_process import ClipProcess
from backend.cache.clip_weights import ClipChoice, local_weights
from backend.cache.matching import Identity, Judgement, Matcher, Vectors
from backend.cache.own_matcher import own_matcher
from backend.cache.perceptual_matcher import PerceptualMatcher
from backend.errors import MatcherUnfit, PictureRejected

log = logging.getLogger(__name__)

T = TypeVar("T")

_UNIT_WITHIN = 1e-3


@dataclass(frozen=True)
class MatcherSettings:
    """Which strategy.

    Attributes:
        matcher: ``auto`` (CLIP where its weights are on this machine; nothing is downloaded), ``clip``,
            ``perceptual``, or ``package.module:Class``: a class of the user's own, made without arguments.
        clip: What CLIP needs.
    """

    matcher: str = "auto"
    clip: ClipChoice = field(default_factory=ClipChoice)


def matcher_of(choice: MatcherSettings) -> Callable[[], Matcher]:
    """What loads the strategy; that may take its time, and raises `MatcherUnfit` if it cannot be had."""
    if choice.matcher == "perceptual":
        return PerceptualMatcher
    if choice.matcher == "clip":
        return lambda: ClipProcess(choice.clip)
    if choice.matcher == "auto":
        return lambda: _whatever_is_there(choice.clip)
    return lambda: own_matcher(choice.matcher)


def _whatever_is_there(clip: ClipChoice) -> Matcher:
    if local_weights(clip) is None and not clip.names_a_file:
        log.info("pictures are judged without CLIP: %s is not on this machine", clip.source)
        return PerceptualMatcher()
    return ClipProcess(replace(clip, may_download=False))


class AestheticMatcher:
    """Judges pictures with the strategy that is there; safe to call from several threads.

    Args:
        load: Makes the strategy; called once, on a thread of its own.
        fallback: Judges until then, and for good if it cannot be had; None for `PerceptualMatcher`.
    """

    def __init__(self, load: Callable[[], Matcher], fallback: Matcher | None = None) -> None:
        self._load = load
        self._fallback: Matcher = PerceptualMatcher() if fallback is None else fallback
        self._current = self._fallback
        self._problem: str | None = None
        self._settled = threading.Event()
        self._closed = False
        self._one_at_a_time = threading.Lock()
        self._words: tuple[Matcher, str, Vectors | None] | None = None

    def start(self) -> None:
        """Begin to load; returns at once."""
        threading.Thread(target=self._fetch, name="matcher-loader", daemon=True).start()

    def close(self) -> None:
        """Let go of what the strategy holds; pictures are judged without weights from now on."""
        self._closed = True
        loaded, self._current = self._current, self._fallback
        _let_go(loaded)

    def wait(self, timeout_s: float) -> bool:
        """Until it is loaded or cannot be had; False if that took longer."""
        return self._settled.wait(timeout_s)

    @property
    def ready(self) -> bool:
        """The strategy asked for judges; False while it is loaded, and where it cannot be had."""
        return self._settled.is_set() and self._problem is None

    @property
    def current(self) -> Matcher:
        """Who judges now."""
        return self._current

    @property
    def problem(self) -> str | None:
        """Why the fallback judges for good; None if it does not."""
        return self._problem

    def judge(self, picture: bytes, prompt: str) -> Judgement:
        """All that is known of one encoded picture.

        Raises:
            PictureRejected: It cannot be decoded.
        """
        with self._one_at_a_time:
            return self._fairly(lambda matcher: self._judged(matcher, picture, prompt))

    def appraise(self, pictures: Sequence[bytes]) -> tuple[Vectors, Vectors, Identity]:
        """Vectors ``[N, D]``, scores ``[N]`` and whose they are: for many pictures, without words.

        Raises:
            PictureRejected: One of them cannot be decoded.
        """
        with self._one_at_a_time:
            return self._fairly(lambda matcher: _appraised(matcher, pictures))

    def words(self, text: str) -> Vectors | None:
        """A vector to compare pictures with, ``[D]``; None where whoever judges knows no words."""
        with self._one_at_a_time:
            return self._fairly(lambda matcher: _worded(matcher, text))

    def _fetch(self) -> None:
        try:
            loaded = self._load()
            log.info("pictures are judged by %s", loaded.identity)
            self._current = loaded
            if self._closed:
                self.close()
        except MatcherUnfit as error:
            self._give_up(str(error))
        except (Exception, SystemExit) as error:
            log.debug("loading failed", exc_info=True)
            self._give_up(f"{type(error).__name__}: {error}")
        finally:
            self._settled.set()

    def _give_up(self, why: str) -> None:
        self._problem = why
        self._current = self._fallback
        log.warning("pictures are judged by %s: %s", self._fallback.identity, why)

    def _fairly(self, work: Callable[[Matcher], T]) -> T:
        """Done by the current matcher; one that fails at work is not asked again."""
        matcher = self._current
        try:
            return work(matcher)
        except PictureRejected:
            raise
        except (Exception, SystemExit) as error:  # it may be a stranger's
            if matcher is self._fallback:
                raise
            log.debug("%s failed at work", matcher.identity, exc_info=True)
            self._give_up(f"{matcher.identity} failed at work: {type(error).__name__}: {error}")
            _let_go(matcher)
        return work(self._fallback)

    def _judged(self, matcher: Matcher, picture: bytes, prompt: str) -> Judgement:
        embeddings = _embedded(matcher, [picture])
        score = float(matcher.scores(embeddings, [picture])[0])
        words = self._embedded_words(matcher, prompt)
        shows = None if words is None else float(np.clip(embeddings[0] @ words, -1.0, 1.0))
        near = matcher.thresholds.near
        return Judgement(embeddings[0], matcher.identity, _clamped(score), shows, near)

    def _embedded_words(self, matcher: Matcher, prompt: str) -> Vectors | None:
        """Kept for as long as the prompt stays."""
        known = self._words
        if known is None or known[0] is not matcher or known[1] != prompt:
            known = self._words = (matcher, prompt, _worded(matcher, prompt))
        return known[2]


def _let_go(matcher: Matcher) -> None:
    """A process or a device; most strategies hold none."""
    close = getattr(matcher, "close", None)
    if callable(close):
        close()


def _embedded(matcher: Matcher, pictures: Sequence[bytes]) -> Vectors:
    """Checked, since a wrong vector would spoil the memory for good."""
    return _checked(matcher.embed(pictures), len(pictures), matcher.identity)


def _worded(matcher: Matcher, text: str) -> Vectors | None:
    """Checked, too; None where the matcher knows no words."""
    rows = matcher.embed_texts([text])
    return None if rows is None else _checked(rows, 1, matcher.identity)[0]


def _checked(rows: Vectors, count: int, identity: Identity) -> Vectors:
    """A copy, for a stranger may use the same array again."""
    embeddings = np.array(rows, np.float32)
    wished = (count, identity.dimension)
    if embeddings.shape != wished:
        raise ValueError(f"embeddings of shape {embeddings.shape} instead of {wished}")
    lengths = np.linalg.norm(embeddings, axis=1)
    if not np.all(np.abs(lengths - 1.0) <= _UNIT_WITHIN):
        raise ValueError(f"embeddings of length {lengths.min():.3g} to {lengths.max():.3g} instead of 1")
    return embeddings


def _appraised(matcher: Matcher, pictures: Sequence[bytes]) -> tuple[Vectors, Vectors, Identity]:
    embeddings = _embedded(matcher, pictures)
    scores = np.nan_to_num(np.asarray(matcher.scores(embeddings, pictures), np.float32), posinf=0.0)
    return embeddings, np.clip(scores, 0.0, 1.0), matcher.identity


def _clamped(score: float) -> float:
    return min(1.0, max(0.0, score)) if np.isfinite(score) else 0.0
