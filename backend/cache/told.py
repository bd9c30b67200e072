"""What a picture tells of itself: the text that keyframes carry in their own PNG."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from backend.cache.memory_row import Memory, Origin
from backend.cache.picture_files import PictureSize, id_of
from backend.utils.png_text import text_of
from backend.utils.tame_json import tame

FACTS_KEY = "dreamloop"
"""The keyword under which a keyframe's facts stand, as JSON."""
_MAX_TEXT = 20_000
_MAX_PARENTS = 64


def memory_told(picture: bytes, path: str, latent: str | None, size: PictureSize, now: datetime) -> Memory:
    """A row made from nothing but its picture; what it does not tell is left at what is harmless.

    A picture without facts was not dreamt by us: it was one of the user's own.
    """
    facts = _facts(picture)
    return Memory(
        id=id_of(picture),
        added_at=_time(facts.get("time"), now),
        theme=_text(facts.get("theme")),
        prompt=_text(facts.get("prompt")),
        negative=_text(facts.get("negative")),
        seed=_whole(facts.get("seed")),
        parents=_parents(facts.get("parents")),
        denoise=_share(facts.get("denoise"), 1.0),
        score=_share(facts.get("score"), 0.0),
        shows_prompt=None,
        origin=Origin.DREAMT if facts else Origin.SEED,
        pinned=False,
        times_shown=0,
        last_shown_at=None,
        picture=path,
        latent=latent,
        width=size.width,
        height=size.height,
        identity=None,
    )


def utc_now(moment: datetime) -> str:
    """A moment as rows hold it: UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finite(value: object) -> float | None:
    """A number from a stranger, if it is one, and not endless."""
    try:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except OverflowError:  # JSON knows whole numbers without end
        return None
    return number if math.isfinite(number) else None


def _facts(picture: bytes) -> dict[str, Any]:
    try:
        facts = tame(text_of(picture).get(FACTS_KEY, "{}"))
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value is not True and 0 <= value < 2**64 else 0


def _share(value: object, otherwise: float) -> float:
    number = finite(value)
    return otherwise if number is None else min(1.0, max(0.0, number))


def _parents(value: object) -> tuple[str, ...]:
    return tuple(str(parent)[:64] for parent in value[:_MAX_PARENTS]) if isinstance(value, list) else ()


def _time(value: object, now: datetime) -> str:
    try:
        return utc_now(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        return utc_now(now)
