"""Our own nodes on a ComfyUI: are they there, and can they be used?

They are never needed. Where they are, latents stay in the server's memory, a walk is computed there, and its
frames come one by one as they are decoded (comfyui_nodes/ holds them).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backend.core.node_catalog import NodeCatalog

KEEP = "DreamloopKeepLatent"
LATENTS = "DreamloopLatents"
WALK = "DreamloopWalk"
FRAMES = "DreamloopFrames"

VERSION = 1
"""Of the nodes that this Dreamloop knows how to ask; each node tells in its ``pack`` input which it takes."""

PACK_CLASSES = (KEEP, LATENTS, WALK, FRAMES)


class PackUse(StrEnum):
    """What becomes of the nodes."""

    USED = "used"
    """They are there and are used."""
    IDLE = "idle"
    """They are there, but this dream has no use for them."""
    OFF = "off"
    """They are there, and the settings leave them alone."""
    OLD = "old"
    """Those that are there are too old."""
    NEW = "new"
    """Those that are there are newer than this Dreamloop."""
    MISSING = "missing"
    """They are not there."""


@dataclass(frozen=True)
class NodePack:
    """Our nodes on one server.

    Attributes:
        version: Of those that are there; None where none are, or where they do not say.
    """

    use: PackUse = PackUse.MISSING
    version: int | None = None

    @property
    def used(self) -> bool:
        """Whether graphs may have them."""
        return self.use is PackUse.USED

    @property
    def sentence(self) -> str:
        """What there is to say of them."""
        install = "`main.py comfyui install-nodes PATH`, then restart ComfyUI"
        match self.use:
            case PackUse.USED:
                return f"version {self.version}: walks are computed on the server, frames are streamed"
            case PackUse.IDLE:
                return (
                    f"version {self.version} is there, but this workflow, mode or adapter has no use for it"
                )
            case PackUse.OFF:
                return f"version {self.version} is there and left alone (comfyui.node_pack: never)"
            case PackUse.OLD:
                return f"{self._named} is too old, version {VERSION} is needed: {install}"
            case PackUse.NEW:
                return f"{self._named} is newer than this Dreamloop, which knows {VERSION}: {install}"
        return f"not installed; with it walks need less of the server: {install}"

    @property
    def _named(self) -> str:
        return "a node pack of no version" if self.version is None else f"node pack version {self.version}"


NO_PACK = NodePack()
"""None of them are there."""


def find_pack(catalog: NodeCatalog, *, wanted: bool, useful: bool = True) -> NodePack:
    """What a server has of our nodes.

    Args:
        catalog: Its node classes.
        wanted: Whether the settings allow them.
        useful: Whether the dream has a use for them.
    """
    if not any(name in catalog for name in PACK_CLASSES):
        return NO_PACK
    frames = catalog.get(FRAMES)
    told = frames.inputs.get("pack") if frames else None
    if told is None or told.minimum is None or told.maximum is None:
        return NodePack(PackUse.OLD)
    oldest, newest = int(told.minimum), int(told.maximum)
    if newest < VERSION or not all(name in catalog for name in PACK_CLASSES):
        return NodePack(PackUse.OLD, newest)
    if oldest > VERSION:
        return NodePack(PackUse.NEW, newest)
    if not wanted:
        return NodePack(PackUse.OFF, newest)
    return NodePack(PackUse.USED if useful else PackUse.IDLE, newest)
