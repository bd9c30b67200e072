from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core import comfyui_messages as messages
from backend.core.comfyui_messages import (
    Executed,
    Executing,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    Malformed,
    PictureArrived,
    Progress,
    Status,
    Unknown,
    parse_binary,
    parse_text,
    seconds_between,
)
from backend.core.jobs import FileRef
from tests.core.recorded import FOLDER, recorded_bytes, text_events

CONVERSATIONS = sorted(path.stem for path in FOLDER.glob("ws_*.json"))


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_recorded_text_is_understood(name: str) -> None:
    assert [event for event in text_events(name) if isinstance(event, Malformed | Unknown)] == []


@pytest.mark.parametrize("name", [name for name in CONVERSATIONS if "reconnect" not in name])
def test_every_recorded_job_ends_with_executing_nothing(name: str) -> None:
    last = text_events(name)[-1]
    assert isinstance(last, Executing)
    assert last.node is None


def test_a_saved_latent_is_a_file_on_the_server() -> None:
    (executed,) = (event for event in text_events("ws_savelatent_128") if isinstance(event, Executed))
    assert executed.files == (FileRef("kf_00002_.latent", "latents", "output"),)
    assert executed.files[0].annotated == "latents/kf_00002_.latent [output]"


def test_an_error_names_its_node_and_reason() -> None:
    (error,) = (
        event
        for event in text_events("ws_execution_error_corrupt_image")
        if isinstance(event, ExecutionError)
    )
    assert (error.node_id, error.node_type) == ("1", "LoadImage")
    assert "cannot identify image file" in error.message
    assert error.exception_type == "PIL.UnidentifiedImageError"


def test_an_interrupt_is_not_an_error() -> None:
    assert any(isinstance(event, ExecutionInterrupted) for event in text_events("ws_execution_interrupted"))


def test_a_picture_with_metadata_names_its_prompt_and_node() -> None:
    picture = parse_binary(recorded_bytes("frame_event4.bin"))
    assert isinstance(picture, PictureArrived)
    assert (picture.node_id, picture.format) == ("7", "png")
    assert picture.prompt_id == "d7e89515-1694-4fcd-ba2a-9013cab6066d"
    assert picture.data.startswith(b"\x89PNG")


def test_a_picture_without_metadata_names_nothing() -> None:
    picture = parse_binary(struct.pack(">II", 1, 1) + b"\xff\xd8\xff rest")
    assert picture == PictureArrived(b"\xff\xd8\xff rest", "jpeg", None, None)


def test_progress_text_has_its_node() -> None:
    event = parse_binary(struct.pack(">II", 3, 2) + b"12hello")
    assert event == messages.ProgressText("12", "hello")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0\0",
        struct.pack(">II", 4, 2**31) + b"{}",
        struct.pack(">II", 4, 2) + b"{}" + b"\x89PNG\r\n\x1a\n",
        struct.pack(">II", 4, 4) + b"null" + b"\x89PNG\r\n\x1a\n",
        struct.pack(">II", 1, 2) + b"no picture",
        struct.pack(">II", 4, 3) + b"\xff\xfe{",
    ],
)
def test_a_broken_binary_frame_is_malformed_and_nothing_worse(frame: bytes) -> None:
    assert isinstance(parse_binary(frame), Malformed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"type": 1}',
        '{"type": "status"}',
        '{"type": "status", "data": {}}',
        '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": "many"}}}}',
        '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 1e400}}}}',
        '{"type": "executed", "data": {"prompt_id": 1, "node": "1"}}',
        '{"type": "progress_state", "data": {"prompt_id": "a"}}',
        "[" * 100_000,
    ],
)
def test_a_broken_text_is_malformed_and_nothing_worse(text: str) -> None:
    assert isinstance(parse_text(text), Malformed)


def test_a_text_too_long_is_not_read() -> None:
    assert isinstance(parse_text(" " * (messages.MAX_TEXT_CHARS + 1)), Malformed)


def test_kinds_nobody_told_us_of_are_unknown() -> None:
    assert parse_text('{"type": "crystools.monitor", "data": {}}') == Unknown("crystools.monitor")
    assert parse_binary(struct.pack(">I", 99)) == Unknown("binary event 99")


def test_the_status_on_connecting_carries_our_id() -> None:
    text = '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 2}}, "sid": "abc"}}'
    assert parse_text(text) == Status(2, "abc")


BEYOND = ["1e400", "-1e400", "NaN", "Infinity", "1" + 400 * "0"]


@pytest.mark.parametrize("number", BEYOND)
def test_numbers_beyond_all_bounds_count_as_missing(number: str) -> None:
    start = parse_text(f'{{"type": "execution_start", "data": {{"prompt_id": "a", "timestamp": {number}}}}}')
    assert start == ExecutionStart("a", None)
    data = f'{{"prompt_id": "a", "node": "1", "value": {number}, "max": {number}}}'
    assert parse_text(f'{{"type": "progress", "data": {data}}}') == Progress("a", "1", 0.0, 0.0)


def test_the_time_between_two_stamps_is_finite_whatever_they_are() -> None:
    assert seconds_between(1000.0, 1500.0) == 0.5
    assert seconds_between(-1.7e308, 1.7e308) == 0.0
    assert seconds_between(1500.0, 1000.0) == 0.0
    assert seconds_between(None, 1000.0) == 0.0


KINDS = st.sampled_from(
    ["status", "executing", "executed", "progress", "progress_state", "execution_error", "execution_success"]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**400), 10**400) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["prompt_id", "node", "nodes"]), inner),
    max_leaves=8,
)


@given(KINDS, JSON_VALUES)
def test_whatever_json_comes_an_event_comes_of_it(kind: str, data: object) -> None:
    parse_text(json.dumps({"type": kind, "data": data}))


@given(st.binary(max_size=64), st.integers(0, 5))
def test_whatever_bytes_come_an_event_comes_of_them(tail: bytes, event: int) -> None:
    parse_binary(struct.pack(">I", event) + tail)
