from __future__ import annotations

from typing import Any

import pytest

import comfyui_nodes.version
from backend.core.node_catalog import NodeCatalog
from backend.core.node_pack import PACK_CLASSES, VERSION, PackUse, find_pack


def catalog(oldest: int = VERSION, newest: int = VERSION, *, without: str = "") -> NodeCatalog:
    """A server that has our nodes, which take graphs of these versions."""
    entry = {"input": {"required": {"pack": ["INT", {"min": oldest, "max": newest}]}}, "output": []}
    return NodeCatalog.parse({name: entry for name in (*PACK_CLASSES, "KSampler") if name != without})


def test_the_nodes_that_come_with_it_speak_its_version() -> None:
    assert comfyui_nodes.version.OLDEST <= VERSION <= comfyui_nodes.version.VERSION


@pytest.mark.parametrize(
    ("has", "use"),
    [
        (catalog(), PackUse.USED),
        (catalog(VERSION, VERSION + 3), PackUse.USED),
        (catalog(VERSION - 1, VERSION - 1), PackUse.OLD),
        (catalog(VERSION + 1, VERSION + 2), PackUse.NEW),
        (catalog(without=PACK_CLASSES[1]), PackUse.OLD),
        (NodeCatalog.parse({"DreamloopFrames": {"input": {}}}), PackUse.OLD),
        (NodeCatalog.parse({"KSampler": {"input": {}}}), PackUse.MISSING),
    ],
)
def test_the_versions_decide_whether_the_nodes_are_used(has: NodeCatalog, use: PackUse) -> None:
    assert find_pack(has, wanted=True).use is use


def test_a_wish_and_a_dream_without_use_for_them_are_heeded() -> None:
    assert find_pack(catalog(), wanted=False).use is PackUse.OFF
    assert find_pack(catalog(), wanted=True, useful=False).use is PackUse.IDLE


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"oldest": VERSION - 1, "newest": VERSION - 1}, f"version {VERSION - 1} is too old"),
        ({"oldest": VERSION + 1, "newest": VERSION + 1}, f"version {VERSION + 1} is newer"),
    ],
)
def test_a_pack_of_another_version_is_named_with_what_to_do(options: dict[str, Any], says: str) -> None:
    sentence = find_pack(catalog(**options), wanted=True).sentence
    assert says in sentence
    assert "install-nodes" in sentence
