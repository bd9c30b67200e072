from __future__ import annotations

import pytest

from backend.utils.flat_keys import widget_status
from backend.utils.status_schema import (
    DisplayStatus,
    DreamStatus,
    EngineStatus,
    MemoryStatus,
    ReasonCode,
    State,
    StorageStatus,
)
from tests.utils.test_status_schema import a_body, a_frame, as_json


def test_the_flat_keys_follow_from_the_rest() -> None:
    said = as_json(
        a_body(
            frame=a_frame(123),
            engine=EngineStatus(kind="comfyui", reachable=True),
            dream=DreamStatus(mode="img2img", prompt="a tide", keyframes=9, in_betweens=80, keyframe_s=1.25),
            display=DisplayStatus(fps=10, buffer_seconds=3.14, buffer_target_seconds=12),
            storage=StorageStatus(frames=55),
            memory=MemoryStatus(entries=77, injections=3),
        )
    )
    flat = {
        "frame_number": 123,
        "generation_time": 1.25,
        "status": "live",
        "current_mode": "img2img",
        "current_prompt": "a tide",
        "cache_size": 77,
        "cache_injections": 3,
        "uptime_hours": 2.0,
        "last_update": "2026-01-02T12:00:00.345Z",
        "daemon_status": "running",
        "comfyui_status": "running",
        "controller_status": "running",
        "is_buffering": False,
        "buffer_filled": 31,
        "buffer_target": 120,
        "keyframes_generated": 9,
        "interpolations_generated": 80,
    }
    assert {key: said[key] for key in flat} == flat


@pytest.mark.parametrize(
    ("state", "code", "word"),
    [
        (State.STARTING, ReasonCode.OK, "initializing"),
        (State.BUFFERING, ReasonCode.OK, "initializing"),
        (State.STARTING, ReasonCode.ENGINE_UNREACHABLE, "error"),
        (State.DREAMING, ReasonCode.OK, "live"),
        (State.DREAMING, ReasonCode.ENGINE_ERROR, "live"),
        (State.DREAMING, ReasonCode.PROMPTS, "live"),
        (State.DREAMING, ReasonCode.STORAGE, "error"),
        (State.RESTING, ReasonCode.OK, "live"),
        (State.REMEMBERING, ReasonCode.ENGINE_SLOW, "live"),
        (State.REMEMBERING, ReasonCode.ENGINE_UNREACHABLE, "error"),
        (State.PAUSED, ReasonCode.USER, "paused"),
        (State.STOPPING, ReasonCode.OK, "paused"),
    ],
)
def test_the_old_word_says_error_only_where_no_new_picture_is_seen(
    state: State, code: ReasonCode, word: str
) -> None:
    assert widget_status(state, code) == word


def test_an_unreachable_engine_is_called_so() -> None:
    assert as_json(a_body(State.REMEMBERING))["comfyui_status"] == "unreachable"
    assert as_json(a_body(State.PAUSED))["controller_status"] == "paused"
    assert as_json(a_body(State.STOPPING))["daemon_status"] == "stopping"
