"""Where a keyframe comes from, written into its own PNG.

Two texts: ``prompt``, ComfyUI's own, so that a keyframe dragged into ComfyUI restores the graph that made it;
and ``dreamloop``, what the dream knows of it. Both are ASCII JSON, so that every reader of PNG gets at them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from backend.core.jobs import Graph
from backend.utils.png_text import text_of, with_text
from backend.utils.status_schema import utc_text

GRAPH_KEY = "prompt"
FACTS_KEY = "dreamloop"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Provenance:
    """What is known of a keyframe when it is collected.

    Attributes:
        sequence: The keyframe's number in its run.
        theme: The theme that it was dreamt under.
        prompt: The positive prompt.
        negative: The negative prompt.
        seed: Of the sampler.
        parents: Numbers of the keyframes that it was dreamt from; none for a fresh one.
        denoise: 0 to 1, how much of it is new.
        score: How it was judged; None while nothing judges.
        model: Model file or files that painted it.
        engine: The engine and its version.
        time: When it was collected.
    """

    sequence: int
    theme: str
    prompt: str
    negative: str
    seed: int
    parents: tuple[int, ...]
    denoise: float
    score: float | None
    model: str
    engine: str
    time: datetime


def stamped(picture: bytes, graph: Graph, facts: Provenance) -> bytes:
    """The same picture, not encoded again, that tells where it comes from.

    Args:
        picture: A PNG; other formats come back untouched.
        graph: As it was posted.
        facts: All that is known.

    Raises:
        ValueError: If the PNG is damaged, or the graph or a fact has no JSON (not a number, or endless).
    """
    told = {"schema_version": SCHEMA_VERSION, **asdict(facts), "time": utc_text(facts.time)}
    return with_text(picture, {GRAPH_KEY: _json(graph), FACTS_KEY: _json(told)})


def scored(picture: bytes, score: float) -> bytes:
    """The same picture, which tells how it was judged, too; as it is where it tells nothing of itself."""
    try:
        told = json.loads(text_of(picture)[FACTS_KEY])
        return with_text(picture, {FACTS_KEY: _json({**told, "score": round(score, 4)})})
    except (KeyError, TypeError, ValueError, RecursionError):
        return picture


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
