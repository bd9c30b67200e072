"""JSON from strangers, with nothing in it that a file, a log or a comparison would stumble over later."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_MAY_BE_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_MAY_BE_HALF_BYTES = re.compile(_MAY_BE_HALF.pattern.encode())


def tame(text: str | bytes) -> Any:
    """What the text says; NaN and infinities, which JSON does not have, read as None.

    Halves of surrogate pairs, with which no file can be written, become question marks.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested without end.
    """
    told = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    pattern = _MAY_BE_HALF if isinstance(text, str) else _MAY_BE_HALF_BYTES
    return _whole_characters(told) if pattern.search(text) else told  # type: ignore[arg-type]


def _whole_characters(told: Any) -> Any:
    if isinstance(told, str):
        return told.encode(errors="replace").decode()
    if isinstance(told, list):
        return [_whole_characters(one) for one in told]
    if isinstance(told, dict):
        return {_whole_characters(key): _whole_characters(value) for key, value in told.items()}
    return told


def _finite(written: str) -> float | None:
    number = float(written)  # 1e400 is correct JSON, and infinite
    return number if math.isfinite(number) else None
