"""What flows through CONDITIONING, MODEL and CLIP links: words, and the LoRAs that colour them.

Painters never see these: when it comes to sampling, the words are read and blended for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from backend.engine.painting import Conditioning, Painter

Loras: TypeAlias = tuple[tuple[str, float], ...]
"""(words, strength) of each LoRA laid on a model or on its text encoder."""

MODEL_PULL = 0.4
"""Share of the picture's style that a LoRA takes on a model, at strength 1."""
CLIP_PULL = 0.2
"""The same on a text encoder; together they take about half."""
_MOST_PULL = 0.9

_MOST_PHRASES = 16
_MOST_CHARACTERS = 20_000
"""A few nodes linked in a row can double a prompt again and again; nobody reads that far."""


@dataclass(frozen=True)
class Phrase:
    """One text and how much it counts beside the others; each prompt brings a weight of 1."""

    text: str
    weight: float = 1.0
    loras: Loras = ()


Wording: TypeAlias = tuple[Phrase, ...]


def words_of(file_name: str) -> str:
    """What a LoRA's name says: ``dreamloop-gold.safetensors`` is "gold"."""
    stem = file_name.rsplit(".", 1)[0].removeprefix("dreamloop-")
    return re.sub(r"[\W_]+", " ", stem).strip()


def combined(one: Wording, other: Wording) -> Wording:
    """Both prompts, each for itself."""
    return _heaviest([*one, *other])


def averaged(to: Wording, source: Wording, to_strength: float) -> Wording:
    """Between the two; at 1 exactly ``to``, at 0 exactly ``source``."""
    if to_strength >= 1.0:
        return to
    if to_strength <= 0.0:
        return source
    share = (1.0 - to_strength) * _weight(to) / _weight(source)
    return _heaviest([*_scaled(to, to_strength), *_scaled(source, share)])


def concatenated(to: Wording, source: Wording) -> Wording:
    """Each prompt of ``to`` goes on with the words of ``source``."""
    total = _weight(source)
    return _heaviest(
        Phrase(
            f"{first.text}, {second.text}"[:_MOST_CHARACTERS],
            first.weight * second.weight / total,
            tuple(dict.fromkeys(first.loras + second.loras)),
        )
        for first in to
        for second in source
    )


def read(painter: Painter, wording: Wording, model_loras: Loras = ()) -> Conditioning:
    """What to paint, with what the LoRAs add to it."""
    phrases = [_pulled(painter, painter.text(phrase.text), phrase.loras, CLIP_PULL) for phrase in wording]
    return _pulled(painter, _mixed(painter, phrases, wording), model_loras, MODEL_PULL)


def read_unwished(painter: Painter, wording: Wording) -> Conditioning:
    """What to stay away from: the bare words, for a LoRA is something that is wished for."""
    return _mixed(painter, [painter.text(phrase.text) for phrase in wording], wording)


def _mixed(painter: Painter, readings: Sequence[Conditioning], wording: Wording) -> Conditioning:
    if len(readings) == 1:
        return readings[0]
    total = _weight(wording)
    weights = [phrase.weight / total for phrase in wording]
    return painter.blend(list(zip(readings, weights, strict=True)))


def _pulled(painter: Painter, reading: Conditioning, loras: Loras, pull: float) -> Conditioning:
    shares = [(words, strength * pull) for words, strength in loras if strength]
    if not shares:
        return reading
    limit = min(1.0, _MOST_PULL / sum(abs(share) for _, share in shares))
    parts = [(painter.text(words), share * limit) for words, share in shares]
    return painter.blend([(reading, 1.0 - sum(share for _, share in parts)), *parts])


def _weight(wording: Wording) -> float:
    return sum(phrase.weight for phrase in wording)


def _scaled(wording: Wording, share: float) -> Wording:
    return tuple(replace(phrase, weight=phrase.weight * share) for phrase in wording)


def _heaviest(phrases: Iterable[Phrase]) -> Wording:
    return tuple(sorted(phrases, key=lambda phrase: -phrase.weight)[:_MOST_PHRASES])
