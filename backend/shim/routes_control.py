"""What may be asked of the dream: to pause, to turn, to remember, to dream of somebody's words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field

from backend.shim.answers import ErrorAnswer, json_answer
from backend.shim.daemon import Daemon

_REFUSED: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer},
    403: {"model": ErrorAnswer},
    409: {"model": ErrorAnswer},
    503: {"model": ErrorAnswer},
}


class Done(BaseModel):
    """It was done."""

    status: Literal["ok"] = "ok"
    state: str = Field(default="", description="state of the dream now", examples=["paused"])


class Which(BaseModel):
    """One memory."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(
        pattern=r"^[0-9a-f]{4,64}$", description="its id, or the beginning of it", examples=["3f9a"]
    )


class Pinned(Which):
    """One memory, to be kept for ever or not."""

    pinned: bool = Field(default=True, description="false: it may be forgotten again")


class Words(BaseModel):
    """What to dream of."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=4000, examples=["a lighthouse in the snow, first light"])
    seconds: float = Field(default=120.0, ge=5, le=86_400, description="after which the themes go on")


def control_routes(daemon: Daemon) -> APIRouter:
    """Everything that changes something."""
    router = APIRouter(tags=["control"])

    def plain(name: str, what: str) -> None:
        async def command() -> Response:
            return _done(await daemon.ask(name))

        router.add_api_route(
            f"/api/control/{name}",
            command,
            methods=["POST"],
            response_model=Done,
            responses=_REFUSED,
            summary=what,
        )

    plain("pause", "Hold the picture and let the engine rest")
    plain("resume", "Go on after pause")
    plain("next", "Turn to another theme")
    plain("stop", "End the daemon")

    @router.post("/api/control/pin", response_model=Done, responses=_REFUSED)
    async def pin(asked: Annotated[Pinned, Body()]) -> Response:
        """Keep a memory whatever comes, or let it go its way again."""
        return _done(await daemon.ask("memory", action="pin" if asked.pinned else "unpin", id=asked.id))

    @router.post("/api/control/forget", response_model=Done, responses=_REFUSED)
    async def forget(asked: Annotated[Which, Body()]) -> Response:
        """Forget a memory."""
        return _done(await daemon.ask("memory", action="forget", id=asked.id))

    @router.post("/api/control/inject", response_model=Done, responses=_REFUSED)
    async def inject(asked: Annotated[Which, Body()]) -> Response:
        """Fold a memory into the dream now, softly, over its next keyframes."""
        return _done(await daemon.ask("memory", action="inject", id=asked.id))

    @router.post("/api/prompt", response_model=Done, responses=_REFUSED)
    async def prompt(asked: Annotated[Words, Body()]) -> Response:
        """Say something to the dream: it turns toward it within two keyframes, and back after a while."""
        return _done(await daemon.ask("say", text=asked.text, seconds=asked.seconds))

    return router


def _done(answer: dict[str, Any]) -> Response:
    return json_answer({"status": "ok", **answer})
