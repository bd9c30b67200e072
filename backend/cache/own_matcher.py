"""A matcher of the user's own: a class that is named in the settings, made, and looked at before it judges.

Whatever it says of itself is read once, here, and must make sense: later nothing of a stranger's is asked
where a fault would cost more than that judgement.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence

import numpy as np

from backend.cache.matching import Identity, Matcher, Thresholds, Vectors
from backend.errors import MatcherUnfit

_NEEDED = ("identity", "thresholds", "embed", "scores", "embed_texts")
_WORK = ("embed", "scores", "embed_texts")
_MOST_NUMBERS = 65_536
_LONGEST_NAME = 200


def own_matcher(name: str) -> Matcher:
    """What ``package.module:Class`` makes, held to what it said of itself.

    Raises:
        MatcherUnfit: It cannot be made, or is no matcher; the message names the key, and what is wrong.
    """
    if ":" not in name:
        raise MatcherUnfit(f"memory.matcher: {name!r} is not auto, clip, perceptual or package.module:Class")
    try:
        return _Held(_made(name))
    except MatcherUnfit as error:
        raise MatcherUnfit(f"memory.matcher: {name} {error}") from error.__cause__


class _Held:
    """A stranger's matcher with facts that stay."""

    def __init__(self, made: Matcher) -> None:
        try:
            missing = [one for one in _NEEDED if not hasattr(made, one)]
            if missing:
                raise MatcherUnfit(f"is no matcher: it has no {', '.join(missing)}")
            idle = [one for one in _WORK if not callable(getattr(made, one))]
            if idle:
                raise MatcherUnfit(f"is no matcher: {', '.join(idle)} cannot be called")
            self.identity = _identity(made.identity)
            self.thresholds = _thresholds(made.thresholds)
        except MatcherUnfit:
            raise
        except Exception as error:  # a property of a stranger's may raise whatever it likes
            raise MatcherUnfit(f"is no matcher: {type(error).__name__}: {error}") from error
        self._made = made

    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        """See `Matcher.embed`."""
        return self._made.embed(pictures)

    def scores(self, embeddings: Vectors, pictures: Sequence[bytes]) -> Vectors:
        """See `Matcher.scores`."""
        return self._made.scores(embeddings, pictures)

    def embed_texts(self, texts: Sequence[str]) -> Vectors | None:
        """See `Matcher.embed_texts`."""
        return self._made.embed_texts(texts)

    def close(self) -> None:
        """Let go of what it holds, if it knows how."""
        close = getattr(self._made, "close", None)
        if callable(close):
            close()


def _made(name: str) -> Matcher:
    module_name, _, class_name = name.partition(":")
    try:
        made: Matcher = getattr(importlib.import_module(module_name), class_name)()
    except (Exception, SystemExit) as error:  # whatever a foreign module raises
        raise MatcherUnfit(f"cannot be made: {type(error).__name__}: {error}") from error
    return made


def _identity(told: object) -> Identity:
    if not isinstance(told, Identity):
        raise MatcherUnfit(f"has an identity that is no Identity: {told!r:.80}")
    texts: dict[str, object] = {"name": told.name, "version": told.version}
    for what, text in texts.items():
        if not (isinstance(text, str) and 0 < len(text) <= _LONGEST_NAME and text.isprintable()):
            raise MatcherUnfit(f"has an identity whose {what} is no short text: {text!r:.80}")
    dimension: object = told.dimension
    if not isinstance(dimension, int | np.integer) or not 1 <= dimension <= _MOST_NUMBERS:
        wish = f"a whole number from 1 to {_MOST_NUMBERS:,}"
        raise MatcherUnfit(f"has an identity whose dimension is not {wish}: {dimension!r:.80}")
    return Identity(str(told.name), str(told.version), int(dimension))


def _thresholds(told: object) -> Thresholds:
    if not isinstance(told, Thresholds):
        raise MatcherUnfit(f"has thresholds that are no Thresholds: {told!r:.80}")
    numbers: dict[str, object] = {"duplicate": told.duplicate, "near": told.near}
    for what, value in numbers.items():
        if not isinstance(value, int | float | np.floating) or not math.isfinite(value):
            raise MatcherUnfit(f"has thresholds whose {what} is no number: {value!r:.80}")
    found = Thresholds(float(told.duplicate), float(told.near))
    if not -1.0 <= found.near <= found.duplicate <= 1.0:
        raise MatcherUnfit(
            f"has thresholds that are no cosines in order, -1 <= near <= duplicate <= 1: {found}"
        )
    return found
