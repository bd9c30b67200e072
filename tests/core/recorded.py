"""Payloads recorded on real servers (ComfyUI 0.3.64, and 0.33.0 where the name says so)."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from backend.core.comfyui_messages import Event, parse_text
from backend.core.node_catalog import NodeCatalog

FOLDER = Path(__file__).parent.parent / "data" / "comfyui"


def recorded(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def recorded_bytes(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def text_events(name: str) -> list[Event]:
    """The text frames of a recorded connection, in order."""
    return [parse_text(json.dumps(entry["text"])) for entry in recorded(name) if "text" in entry]


@cache
def object_info(version: str) -> Any:
    """The whole /object_info of a real server, ``0.3.64`` or ``0.33.0``, without its words for people."""
    return json.loads(gzip.decompress((FOLDER / f"object_info-{version}.json.gz").read_bytes()))


@cache
def node_catalog(version: str, *, pack: bool = False) -> NodeCatalog:
    """What it has; ``pack`` with our own nodes, which are the same in both."""
    return NodeCatalog.parse({**object_info(version), **(recorded("object_info-node-pack") if pack else {})})
