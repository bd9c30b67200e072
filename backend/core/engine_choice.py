"""Which engine dreams: decided once, at the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backend.core.engine import EngineKind

DEFAULT_URL = "http://127.0.0.1:8188"


@dataclass(frozen=True)
class EngineChoice:
    """The decision, and how to tell people of it.

    Attributes:
        url: Where to connect; None for the embedded engine, which finds a free port.
        note: One or two sentences for the log, the status and the page.
    """

    kind: EngineKind
    url: str | None
    note: str


def choose_engine(
    wished_url: str | None, find_models: Callable[[str], tuple[str, ...]], *, launches: bool = False
) -> EngineChoice:
    """Take the ComfyUI that the settings name; without a name, a local one that has a model, else our own.

    An address that was given is never replaced by the embedded engine: whoever wrote it wants that
    machine's pictures, and waits for them.

    Args:
        wished_url: ``comfyui.url``; None for ``auto``.
        find_models: The models of the ComfyUI at an address; empty where there is none.
        launches: ``comfyui.launch`` says how to start one.
    """
    if launches:
        url = wished_url or DEFAULT_URL
        return EngineChoice(EngineKind.COMFYUI, url, f"dreaming with the ComfyUI that is started at {url}")
    if wished_url is not None:
        return EngineChoice(EngineKind.COMFYUI, wished_url, f"dreaming with the ComfyUI at {wished_url}")
    if find_models(DEFAULT_URL):
        return EngineChoice(
            EngineKind.COMFYUI, DEFAULT_URL, f"dreaming with the ComfyUI found at {DEFAULT_URL}"
        )
    return EngineChoice(
        EngineKind.EMBEDDED,
        None,
        f"no ComfyUI with a model answers at {DEFAULT_URL}, so the embedded engine dreams: it paints "
        "abstract pictures on the CPU and is no diffusion model. Start ComfyUI, or set comfyui.url, and "
        "start again to dream with it.",
    )
