"""What the studio needs beside: themes, models, settings, the log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from backend.shim.answers import ErrorAnswer, json_answer
from backend.shim.daemon import Daemon

_REFUSED: dict[int | str, dict[str, Any]] = {409: {"model": ErrorAnswer}, 503: {"model": ErrorAnswer}}
_KINDS = {"checkpoints": "checkpoint", "diffusion_models": "diffusion_model"}


class Model(BaseModel):
    """A model file of the engine."""

    id: str = Field(description="as the engine names it", examples=["sdxl/base.safetensors"])
    name: str = Field(description="for people", examples=["base"])
    filename: str = Field(examples=["base.safetensors"])
    kind: str = Field(description="what it is", examples=["checkpoint"])


class Models(BaseModel):
    """What the engine can paint with."""

    status: Literal["ok"] = "ok"
    models: list[Model]


class ThemeName(BaseModel):
    """One of the themes."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=60, examples=["aurora"])


class ThemeFile(BaseModel):
    """A theme as it is to stand in its file."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(pattern=r"^[^/\\\x00]{1,70}$", examples=["aurora.yaml"])
    text: str = Field(max_length=262_144, examples=["name: aurora\npositive: [veils of green light]\n"])


class Setting(BaseModel):
    """One key of config.yaml as it is to be."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(pattern=r"^[a-z]{1,30}\.[a-z_]{1,40}$", examples=["dream.denoise"])
    value: str = Field(max_length=4000, description="as it stands in the file", examples=["0.35"])


def studio_routes(daemon: Daemon) -> APIRouter:
    """Everything that only whoever looks after the dream asks for."""
    router = APIRouter(tags=["studio"])

    @router.get("/api/themes", responses=_REFUSED)
    async def themes() -> Response:
        """The themes in use, in order of their files."""
        return json_answer({"status": "ok", **await daemon.ask("themes")})

    @router.get("/api/themes/text", responses=_REFUSED)
    async def theme_text(name: Annotated[str, Query(min_length=1, max_length=60)]) -> Response:
        """The YAML of a theme, as its author wrote it."""
        return json_answer({"status": "ok", **await daemon.ask("theme_text", name=name)})

    @router.put("/api/themes/text", responses=_REFUSED)
    async def save_theme(asked: Annotated[ThemeFile, Body()]) -> Response:
        """Write a theme; what is wrong with it comes back with lines, and then nothing is written."""
        return json_answer(
            {"status": "ok", **await daemon.ask("save_theme", file=asked.file, text=asked.text)}
        )

    @router.post("/api/themes/try", responses=_REFUSED)
    async def turn_to(asked: Annotated[ThemeName, Body()]) -> Response:
        """Turn to a theme with the next keyframe."""
        return json_answer({"status": "ok", **await daemon.ask("theme", name=asked.name)})

    @router.get("/api/config", responses=_REFUSED)
    async def config() -> Response:
        """Every key of config.yaml with what holds now, and what would be right."""
        return json_answer({"status": "ok", **await daemon.ask("config")})

    @router.put("/api/config", responses=_REFUSED)
    async def set_config(asked: Annotated[Setting, Body()]) -> Response:
        """Change one key of config.yaml, keeping its comments; what is wrong with it comes back."""
        return json_answer(
            {"status": "ok", **await daemon.ask("set_config", key=asked.key, value=asked.value)}
        )

    @router.get("/api/models", response_model=Models, responses=_REFUSED)
    async def models() -> Response:
        """The models that the engine has, as last seen."""
        found = (await daemon.ask("models"))["models"]
        told = [
            _model(name, _KINDS.get(kind, kind.rstrip("s")))
            for kind, names in found.items()
            for name in names
        ]
        return json_answer({"status": "ok", "models": told})

    @router.get("/api/log", responses=_REFUSED)
    async def log(after: Annotated[int, Query(ge=0, le=2**53)] = 0) -> Response:
        """The newest lines of the daemon's log, those after a number."""
        return json_answer({"status": "ok", **await daemon.ask("log", after=after)})

    return router


def _model(name: str, kind: str) -> dict[str, str]:
    filename = name.replace("\\", "/").rpartition("/")[2]
    return {"id": name, "name": filename.rpartition(".")[0] or filename, "filename": filename, "kind": kind}
