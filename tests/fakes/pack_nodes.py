"""Our own nodes as FakeComfy has them: what they take is read from comfyui_nodes/, what they do is quick."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from backend.engine.files import SavedFile
from backend.engine.latent_files import latent_bytes, parse_latent
from backend.engine.messages import PictureType
from backend.engine.node_type import Input, NodeCall, NodeResult, NodeType, Output, Workspace
from backend.engine.painting import Latent
from backend.engine.sockets import SocketHub
from comfyui_nodes.encoding import Encoding
from comfyui_nodes.messages import numbers
from comfyui_nodes.nodes import NODE_CLASS_MAPPINGS
from comfyui_nodes.walk import Walk, places_of


class FakePack:
    """The nodes of one server, with the latents that are in its memory.

    Attributes:
        latents: By name, in memory; cleared by a restart.
        versions: The oldest and the newest that the nodes say they take; None for what they really take.
        before_frame: Called, on the worker's thread, before each frame is decoded.
        decoded: Frames that were decoded, over restarts.
    """

    def __init__(self) -> None:
        self.latents: dict[str, Latent] = {}
        self.versions: tuple[int, int] | None = None
        self.before_frame: Callable[[int], None] = lambda _frame: None
        self.decoded: list[int] = []
        self._saves = 0

    def nodes(self, hub: SocketHub) -> dict[str, NodeType]:
        """By class name, for a server with these sockets."""

        def frames(call: NodeCall) -> NodeResult:
            return self._frames(call, hub)

        return {
            "DreamloopKeepLatent": self._node("DreamloopKeepLatent", self._keep, is_output=True),
            "DreamloopLatents": self._node(
                "DreamloopLatents",
                self._load,
                Output("LATENT"),
                check={"names": self._missing},
                changed=lambda _workspace, inputs: str(sorted(self.latents)) + str(inputs.get("names")),
            ),
            "DreamloopWalk": self._node("DreamloopWalk", _lay_out, Output("DREAMLOOP_WALK", "walk")),
            "DreamloopFrames": self._node(
                "DreamloopFrames", frames, is_output=True, changed=lambda *_: time.monotonic_ns()
            ),
        }

    def _node(
        self, name: str, work: Callable[[NodeCall], NodeResult], *outputs: Output, **how: Any
    ) -> NodeType:
        required = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()["required"]
        inputs = tuple(self._input(key, *given) for key, given in required.items())
        return NodeType(name, inputs, outputs, work, "dreamloop", module="custom_nodes.dreamloop", **how)

    def _input(self, name: str, kind: Any, options: Mapping[str, Any] | None = None) -> Input:
        if isinstance(kind, list):
            return Input(name, "COMBO", choices=lambda _workspace: kind)
        if name == "pack" and self.versions is not None:
            options = {"default": self.versions[1], "min": self.versions[0], "max": self.versions[1]}
        return Input(name, kind, dict(options) if options is not None else None)

    def _keep(self, call: NodeCall) -> NodeResult:
        self._saves += 1
        prefix = f"{call.inputs['filename_prefix']}_{self._saves:05}_{id(self):x}"
        data = latent_bytes(call.inputs["samples"])
        saved = call.workspace.folders.save_next("output", prefix, ".latent", data)
        self.latents[_annotated(saved)] = call.inputs["samples"]
        return NodeResult(ui={"latents": [saved.as_json()]})

    def _load(self, call: NodeCall) -> NodeResult:
        loaded = [self._latent(call.workspace, name) for name in call.inputs["names"].splitlines()]
        return NodeResult((np.concatenate(loaded),))

    def _latent(self, workspace: Workspace, name: str) -> Latent:
        if name in self.latents:
            return self.latents[name]
        path = workspace.folders.find(name)
        if path is None:
            raise FileNotFoundError(name)
        return parse_latent(path.read_bytes())

    def _missing(self, workspace: Workspace, names: Any) -> str | None:
        for name in str(names).splitlines():
            path = workspace.folders.find(name)
            if name not in self.latents and (path is None or not path.stat().st_size):
                return f"Invalid latent file: {name}"
        return None

    def _frames(self, call: NodeCall, hub: SocketHub) -> NodeResult:
        inputs, client_id = call.inputs, call.extra_data.get("client_id")
        walk, encoding = inputs["walk"], Encoding(inputs["format"], inputs["quality"])
        kind = PictureType.PNG if encoding.format == "png" else PictureType.JPEG
        saved: list[SavedFile] = []
        chosen = numbers(inputs["frames"], len(walk))
        for done, frame in enumerate(chosen):
            if inputs["to"] == "socket" and not hub.receivers(client_id):
                break
            self.before_frame(frame)
            self.decoded.append(frame)
            (pixels,) = call.workspace.painter.decode(walk.at([frame]).numpy())
            picture = encoding.encode(torch.from_numpy(pixels.astype(np.float32)) / 255.0)
            if inputs["to"] == "socket":
                call.on_progress(done + 1, len(chosen), picture, kind, frame)
            else:
                saved.append(
                    call.workspace.folders.save_next("temp", f"frame{frame:05}", encoding.suffix, picture)
                )
        return NodeResult(ui={"images": [one.as_json() for one in saved]})


def _lay_out(call: NodeCall) -> NodeResult:
    latents = torch.from_numpy(call.inputs["samples"])
    return NodeResult((Walk.read(latents, call.inputs["course"], places_of(call.inputs["places"])),))


def _annotated(saved: SavedFile) -> str:
    return f"{saved.subfolder}/{saved.filename} [{saved.type}]".removeprefix("/")
