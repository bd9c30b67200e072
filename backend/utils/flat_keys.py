"""The words of older widgets: how the flat keys of the status follow from all that it says today."""

from __future__ import annotations

from typing import Any

from backend.utils.status_schema import (
    ControllerWord,
    EngineStatus,
    EngineWord,
    ReasonCode,
    State,
    StatusBody,
    WidgetWord,
)

_ENGINE_TROUBLE = frozenset(
    {
        ReasonCode.ENGINE_UNREACHABLE,
        ReasonCode.ENGINE_ERROR,
        ReasonCode.MODEL_MISSING,
        ReasonCode.GRAPH_REJECTED,
        ReasonCode.BAD_PICTURES,
    }
)
_WITHOUT_NEW_PICTURES = frozenset({State.STARTING, State.BUFFERING, State.REMEMBERING})
_CONTROLLER: dict[State, ControllerWord] = {
    State.STARTING: "starting",
    State.PAUSED: "paused",
    State.STOPPING: "stopping",
}


def flat_keys(body: StatusBody, moment: str, uptime_s: float) -> dict[str, Any]:
    """All of them, for a status of this moment (as text), so many seconds after the start."""
    dream, display, state = body.dream, body.display, body.state
    return {
        "frame_number": body.frame.sequence if body.frame else 0,
        "generation_time": dream.keyframe_s or 0.0,
        "status": widget_status(state, body.reason.code),
        "current_mode": dream.mode,
        "current_prompt": dream.prompt,
        "cache_size": body.memory.entries,
        "cache_injections": body.memory.injections,
        "uptime_hours": round(uptime_s / 3600, 4),
        "last_update": moment,
        "daemon_status": state.value if state in (State.PAUSED, State.STOPPING) else "running",
        "comfyui_status": _engine_word(state, body.engine),
        "controller_status": _CONTROLLER.get(state, "running"),
        "is_buffering": state in (State.STARTING, State.BUFFERING),
        "buffer_filled": round(display.buffer_seconds * display.fps),
        "buffer_target": round(display.buffer_target_seconds * display.fps),
        "keyframes_generated": dream.keyframes,
        "interpolations_generated": dream.in_betweens,
    }


def widget_status(state: State, code: ReasonCode) -> WidgetWord:
    """The old word for a state: "error" only where no new pictures come, or none can be written."""
    if state in (State.PAUSED, State.STOPPING):
        return "paused"
    if code is ReasonCode.STORAGE or (state in _WITHOUT_NEW_PICTURES and code in _ENGINE_TROUBLE):
        return "error"
    return "initializing" if state in (State.STARTING, State.BUFFERING) else "live"


def _engine_word(state: State, engine: EngineStatus) -> EngineWord:
    if engine.reachable:
        return "running"
    return "starting" if state is State.STARTING else "unreachable"
