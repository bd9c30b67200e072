"""Reads a prompt: which colours, which forms, which light. Plain Python, no model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from backend.engine import lexicon_words as words

MAX_WORDS = 600
_T = TypeVar("_T")
_EMPHASIS = re.compile(r"\(([^()]*?):\s*([0-9]*\.?[0-9]+)\s*\)")
_WORD = re.compile(r"[^\W_]+", re.UNICODE)


@dataclass(frozen=True)
class Reading:
    """What a prompt says to a painter.

    Attributes:
        colours: (sRGB hex, weight), in order of the text.
        forms: Weight of each form that was named.
        moods: Sum of each dial that was turned.
        place: 64 bits that are this text's own.
        empty: Nothing was said at all.
    """

    colours: tuple[tuple[str, float], ...]
    forms: Mapping[str, float]
    moods: Mapping[str, float]
    place: int
    empty: bool


def read(text: str) -> Reading:
    """The reading of ``text``; emphasis such as ``(teal:1.4)`` counts, early words count more."""
    colours: list[tuple[str, float]] = []
    forms: dict[str, float] = {}
    moods: dict[str, float] = {}
    for word, weight in _weighted(text):
        colours += [(value, weight) for value in _found(words.COLOURS, word, exact=True)]
        colours += [(value, 0.45 * weight) for value in _found(words.TINTS, word)]
        for form in _found(words.FORMS, word):
            _add(forms, form, weight)
        for mood in _found(words.MOODS, word):
            _add(moods, mood, weight)
    for phrase, mood in words.MOODS.items():
        if " " in phrase and phrase in text.lower():
            _add(moods, mood, 1.0)
    return Reading(tuple(colours), forms, moods, place_of(text), not text.strip())


def place_of(text: str) -> int:
    """64 bits of the text, the same on every machine."""
    data = " ".join(text.lower().split()).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _weighted(text: str) -> Iterator[tuple[str, float]]:
    """Words with their emphasis, fading to half over the first forty."""
    count = 0
    position = 0
    for match in [*_EMPHASIS.finditer(text), None]:
        end = match.start() if match else len(text)
        pieces = [(text[position:end], 1.0)]
        if match:
            pieces.append((match.group(1), min(float(match.group(2)), 2.0)))
            position = match.end()
        for piece, emphasis in pieces:
            for word in _WORD.findall(piece.lower()):
                if count >= MAX_WORDS:
                    return
                yield word, emphasis * (0.5 + 0.5 * max(0.0, 1.0 - count / 40))
                count += 1


def _found(table: Mapping[str, _T], word: str, *, exact: bool = False) -> Iterator[_T]:
    if word in table:
        yield table[word]
    elif not exact:
        stem = next((word[:n] for n in range(len(word) - 1, 3, -1) if word[:n] in table), None)
        if stem is not None:
            yield table[stem]
    elif word.endswith("s") and word[:-1] in table:
        yield table[word[:-1]]


def _add(total: dict[str, float], part: Mapping[str, float], weight: float) -> None:
    for key, value in part.items():
        total[key] = total.get(key, 0.0) + value * weight
