from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from backend.utils.status_schema import (
    MAX_TEXT,
    DisplayStatus,
    EngineStatus,
    FrameStatus,
    Reason,
    ReasonCode,
    State,
    Status,
    StatusBody,
    status_json_schema,
    utc_text,
)
from backend.utils.status_writer import compose

NOON = datetime(2026, 1, 2, 12, 0, 0, 345_678, UTC)


def a_frame(sequence: int = 123) -> FrameStatus:
    return FrameStatus(
        sequence=sequence,
        file=f"frames/{sequence:09d}.png",
        sha256="0f" * 32,
        bytes=400_000,
        width=768,
        height=432,
        format="png",
        kind="in_between",
        theme="tides",
        shown_at=utc_text(NOON),
        duration_s=0.1,
    )


def a_body(state: State = State.DREAMING, **parts: Any) -> StatusBody:
    return StatusBody(state=state, **parts)


def as_json(body: StatusBody, uptime_s: float = 7200.0) -> Any:
    status = compose(body, boot_id="b" * 32, pid=42, sequence=7, updated_at=NOON, uptime_s=uptime_s)
    return json.loads(status.model_dump_json())


SCHEMA = status_json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_valid_and_describes_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def undescribed(model: type[BaseModel]) -> list[str]:
        return [f"{model.__name__}.{n}" for n, field in model.model_fields.items() if not field.description]

    parts = {type(getattr(a_body(), name)) for name in StatusBody.model_fields}
    models = [Status, FrameStatus, *(part for part in parts if issubclass(part, BaseModel))]
    assert [name for model in models for name in undescribed(model)] == []


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("code", ReasonCode)
def test_every_state_and_reason_makes_a_status_that_fits_the_schema(state: State, code: ReasonCode) -> None:
    said = as_json(a_body(state, reason=Reason(code=code, sentence="so"), frame=a_frame()))
    VALIDATOR.validate(said)
    assert Status.model_validate_json(json.dumps(said)).state is state


def test_a_status_before_the_first_frame_fits_the_schema() -> None:
    said = as_json(a_body(State.STARTING))
    VALIDATOR.validate(said)
    assert said["frame"] is None
    assert (said["frame_number"], said["status"], said["comfyui_status"]) == (0, "initializing", "starting")
    assert list(said)[:6] == ["schema_version", "boot_id", "pid", "sequence", "updated_at", "uptime_s"]


def test_times_are_utc_whatever_the_zone() -> None:
    assert utc_text(NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))) == "2026-01-02T12:00:00.345Z"


@given(st.text(st.characters(), max_size=50))
def test_any_text_from_a_server_can_be_told(text: str) -> None:
    VALIDATOR.validate(as_json(a_body(engine=EngineStatus(last_error=text))))


def test_a_very_long_text_is_cut() -> None:
    assert len(Reason(code=ReasonCode.OK, sentence="x" * 100_000).sentence) == MAX_TEXT


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_number_that_is_none_is_refused_where_it_is_made(value: float) -> None:
    with pytest.raises(ValidationError):
        DisplayStatus(buffer_seconds=value)
