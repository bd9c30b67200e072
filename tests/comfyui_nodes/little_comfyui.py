"""As much of a ComfyUI as our nodes touch: its modules, an event loop, a client, and a VAE."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

PROMPT = "11111111-2222-3333-4444-555555555555"
CLIENT = "me"


class Interrupted(Exception):  # noqa: N818 - as ComfyUI's own, a wish
    pass


class LittleComfyUI:
    """Records what is sent and told; is interrupted, and loses its client, when the test says so.

    Attributes:
        sent: Client, event and payload of each binary message.
        told: Values of the progress bar.
        on_sent: Called on the event loop before each message.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sent: list[tuple[str, int, bytes]] = []
        self.told: list[tuple[int, int]] = []
        self.interrupted = False
        self.on_sent: Callable[[], None] = lambda: None
        self.loop = asyncio.new_event_loop()
        self.client_id: str | None = CLIENT
        self.last_prompt_id = "not this one"
        self.sockets: dict[str, object] = {CLIENT: object(), "somebody else": object()}
        self.sockets_metadata = {CLIENT: {"feature_flags": {"supports_preview_metadata": True}}}

    async def send_bytes(self, event: int, data: bytes, sid: str | None = None) -> None:
        assert sid is not None, "everybody would get it"
        self.on_sent()
        if sid in self.sockets:
            self.sent.append((sid, event, bytes(data)))

    def check(self) -> None:
        if self.interrupted:
            raise Interrupted

    def modules(self) -> dict[str, ModuleType]:
        context = SimpleNamespace(prompt_id=PROMPT, node_id="8", list_index=None)
        comfyui = self

        class ProgressBar:
            def __init__(self, total: int) -> None:
                self.total = total

            def update_absolute(self, value: int) -> None:
                comfyui.told.append((value, self.total))

        return {
            "server": _module("server", PromptServer=SimpleNamespace(instance=self)),
            "comfy": _module("comfy"),
            "comfy.model_management": _module(
                "comfy.model_management", throw_exception_if_processing_interrupted=self.check
            ),
            "comfy.utils": _module("comfy.utils", ProgressBar=ProgressBar),
            "comfy_execution": _module("comfy_execution"),
            "comfy_execution.utils": _module("comfy_execution.utils", get_executing_context=lambda: context),
            "folder_paths": _module(
                "folder_paths",
                annotated_filepath=self._annotated,
                get_input_directory=lambda: str(self.folder / "input"),
                get_directory_by_type=self._folder,
            ),
        }

    def _folder(self, kind: str) -> str | None:
        return str(self.folder / kind) if kind in ("input", "output", "temp") else None

    def _annotated(self, name: str) -> tuple[str, str | None]:
        for kind in ("output", "input", "temp"):
            if name.endswith(f"[{kind}]"):
                return name[: -len(kind) - 3], self._folder(kind)
        return name, None


@contextmanager
def little_comfyui(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LittleComfyUI]:
    """One whose event loop runs in a thread of its own."""
    comfyui = LittleComfyUI(folder)
    for name, module in comfyui.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    thread = threading.Thread(target=comfyui.loop.run_forever, daemon=True)
    thread.start()
    try:
        yield comfyui
    finally:
        comfyui.loop.call_soon_threadsafe(comfyui.loop.stop)
        thread.join(10.0)
        comfyui.loop.close()


class Vae:
    """Paints each latent in one colour, its first value, eight times as large.

    Attributes:
        batches: How many latents each call was given.
        on_decode: Called before each.
        tiles: Tile and overlap in cells, of calls that asked for tiles.
    """

    def __init__(self, *, device: str = "cuda", cell_px: int = 8) -> None:
        self.device = torch.device(device)
        self.cell_px = cell_px
        self.batches: list[int] = []
        self.tiles: list[tuple[int, int, int]] = []
        self.on_decode: Callable[[], None] = lambda: None

    def spacial_compression_decode(self) -> int:
        return self.cell_px

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self.on_decode()
        self.batches.append(len(latents))
        height, width = (int(side) * self.cell_px for side in latents.shape[-2:])
        first = latents.reshape(len(latents), -1)[:, 0]
        frames = first.view(-1, 1, 1, 1).expand(len(latents), height, width, 3)
        return frames.unsqueeze(0) if latents.dim() == 5 else frames

    def decode_tiled(self, latents: torch.Tensor, *, tile_x: int, tile_y: int, overlap: int) -> torch.Tensor:
        self.tiles.append((tile_x, tile_y, overlap))
        return self.decode(latents)


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module
