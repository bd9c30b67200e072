"""What real servers answered, recorded; see tests/data/engine/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parents[1] / "data" / "engine"

CHECKPOINTS = ["full-sd15.safetensors", "tiny-sd15.safetensors"]
"""What the recorded servers had; their graphs name the second."""


def recorded(name: str) -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text())


def sequence(name: str) -> list[dict[str, Any]]:
    """The messages that one recorded connection heard, in order; pictures have ``event``."""
    messages: list[dict[str, Any]] = recorded("sockets")[name]
    return messages
