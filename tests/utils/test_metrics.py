from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families

from backend.utils.metrics import metrics_of
from backend.utils.status_schema import (
    ConfigStatus,
    DisplayStatus,
    DreamStatus,
    EngineStatus,
    FrameStatus,
    MemoryStatus,
    State,
    StatusBody,
    utc_text,
)
from backend.utils.status_writer import compose

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def parsed(body: StatusBody) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    status = compose(body, boot_id="b", pid=1, sequence=1, updated_at=NOW, uptime_s=60.0)
    text = metrics_of(status.model_dump(mode="json"), age_s=0.5, wall=NOW).decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def full() -> StatusBody:
    frame = FrameStatus(
        sequence=9,
        file="frames/000000009.png",
        sha256="0" * 64,
        bytes=1,
        width=8,
        height=8,
        format="png",
        kind="keyframe",
        theme="",
        shown_at=utc_text(NOW - timedelta(seconds=2)),
        duration_s=0.1,
    )
    return StatusBody(
        state=State.DREAMING,
        frame=frame,
        engine=EngineStatus(kind="comfyui", version="1", reachable=True, checkpoint='a"b\n'),
        dream=DreamStatus(keyframes=5, rejected=3, rejected_by={"black": 2, "flat": 1}, keyframe_s=1.5),
        display=DisplayStatus(frames_shown=70),
        memory=MemoryStatus(bytes=1234),
        config=ConfigStatus(
            file=None, ok=False, taken_at=utc_text(NOW), taken=0, refused=1, problems=(), needs_restart=()
        ),
    )


def test_what_watchers_ask_for_is_there_with_units() -> None:
    found = parsed(full())
    assert found["dreamloop_frames_shown_total"][()] == 70
    assert found["dreamloop_frame_age_seconds"][()] == 2.0
    assert found["dreamloop_keyframe_seconds"][()] == 1.5
    assert found["dreamloop_engine_up"][()] == 1.0
    assert found["dreamloop_memory_bytes"][()] == 1234
    assert found["dreamloop_config_last_reload_successful"][()] == 0.0
    assert found["dreamloop_pictures_rejected_total"] == {
        (("reason", "black"),): 2.0,
        (("reason", "flat"),): 1.0,
    }
    assert found["dreamloop_status_age_seconds"][()] == 0.5


def test_exactly_one_state_holds() -> None:
    states = parsed(full())["dreamloop_state"]
    assert [dict(labels)["dreamloop_state"] for labels, value in states.items() if value] == ["dreaming"]


def test_what_is_not_known_is_left_out_instead_of_zero() -> None:
    found = parsed(StatusBody(state=State.STARTING))
    assert "dreamloop_frame_age_seconds" not in found
    assert "dreamloop_gpu_memory_used_bytes" not in found
    assert "dreamloop_keyframe_seconds" not in found


def test_a_status_of_nonsense_makes_no_metrics_and_no_trouble() -> None:
    text = metrics_of({"frame": 7, "engine": {}, "display": {"fps": "many"}}, age_s=1.0, wall=NOW)
    assert b"dreamloop_status_age_seconds 1.0" in text
    assert b"frames_per_second" not in text.replace(b"# ", b"")
