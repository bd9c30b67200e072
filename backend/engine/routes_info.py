"""Routes that tell what the engine is and has."""

from __future__ import annotations

import importlib.util
import os
import sys

from aiohttp import web

from backend.engine.core import EngineCore
from backend.engine.dialect import Dialect
from backend.engine.node_type import JsonObject
from backend.engine.routes_files import MAX_UPLOAD_BYTES

MODEL_FOLDERS = (
    "checkpoints configs loras vae text_encoders diffusion_models clip_vision style_models embeddings "
    "diffusers vae_approx controlnet gligen upscale_models custom_nodes hypernetworks photomaker classifiers "
    "model_patches audio_encoders"
)


def features(dialect: Dialect) -> JsonObject:
    """What the server can do, told over HTTP and in answer to a client's feature flags."""
    told: JsonObject = {"supports_preview_metadata": True, "max_upload_size": MAX_UPLOAD_BYTES}
    if dialect is Dialect.B:
        told |= {"supports_model_type_tags": True, "node_replacements": False, "assets": False}
    return told


class InfoRoutes:
    """Handlers that only tell."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/system_stats", self.system_stats),
            web.get("/features", self.features),
            web.get("/object_info", self.object_info),
            web.get("/object_info/{name}", self.object_info_of),
            web.get("/models", self.model_folders),
            web.get("/models/{folder}", self.models),
            web.get("/embeddings", self.embeddings),
        ]

    async def features(self, _request: web.Request) -> web.Response:
        return web.json_response(features(self._core.dialect))

    async def object_info(self, _request: web.Request) -> web.Response:
        core = self._core
        return web.json_response({name: node.describe(core.workspace) for name, node in core.nodes.items()})

    async def object_info_of(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        node = self._core.nodes.get(name)
        return web.json_response({} if node is None else {name: node.describe(self._core.workspace)})

    async def model_folders(self, _request: web.Request) -> web.Response:
        return web.json_response(list(self._core.workspace.models))

    async def models(self, request: web.Request) -> web.Response:
        names = self._core.workspace.models.get(request.match_info["folder"])
        return web.Response(status=404) if names is None else web.json_response(names)

    async def embeddings(self, _request: web.Request) -> web.Response:
        return web.json_response([])

    async def system_stats(self, _request: web.Request) -> web.Response:
        total, free = memory_bytes()
        busyness = self._core.worker.busyness()
        system: JsonObject = {
            "os": os.name if self._core.dialect is Dialect.A else sys.platform,
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": self._core.version,
            "required_frontend_version": None,
            "installed_templates_version": None,
            "required_templates_version": None,
            "python_version": sys.version,
            "pytorch_version": _torch_version(),
            "embedded_python": False,
            "argv": ["main.py", "engine"],
        }
        device = {
            "name": "cpu",
            "type": "cpu",
            "index": None,
            "vram_total": total,
            "vram_free": free,
            "torch_vram_total": total,
            "torch_vram_free": free,
        }
        dreamloop = {
            "embedded": True,
            "jobs": busyness.jobs,
            "busy_s": busyness.busy_s,
            "wall_s": busyness.wall_s,
        }
        return web.json_response({"system": system, "devices": [device], "dreamloop": dreamloop})


def memory_bytes() -> tuple[int, int]:
    """Total and free memory of the machine; 0 where the system does not tell."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):  # macOS does not know SC_AVPHYS_PAGES
        return 0, 0


def _torch_version() -> str | None:
    """The version of torch if it is loaded: asking after it must not load it."""
    # Another thread may be loading it right now: then it is there, but has no version yet.
    version = getattr(sys.modules.get("torch"), "__version__", None)
    if version is not None:
        return str(version)
    return None if importlib.util.find_spec("torch") is None else "not loaded"
