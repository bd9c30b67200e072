from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from backend.core.comfyui_answers import (
    Outcome,
    QueueState,
    history_entry,
    queue_state,
    rejection,
    system_stats,
)
from backend.core.jobs import FileRef
from tests.core.recorded import recorded


def only_entry(name: str) -> Any:
    body = recorded(name)
    (prompt_id,) = body
    return history_entry(body, prompt_id)


def test_a_success_tells_its_files_and_its_time() -> None:
    entry = only_entry("history_img2img_previewimage")
    assert entry.outcome is Outcome.SUCCESS
    assert entry.files == {"8": (FileRef("ComfyUI_temp_egvrt_00001_.png", "", "temp"),)}
    assert entry.cached == ("1", "2", "3", "4", "5")
    assert entry.engine_s == pytest.approx(1.218)


def test_pictures_sent_over_the_socket_leave_nothing_in_the_history() -> None:
    entry = only_entry("history_img2img_websocket")
    assert entry.outcome is Outcome.SUCCESS
    assert entry.files == {}


@pytest.mark.parametrize("stamp", [float("inf"), float("nan"), pytest.param(10**400, id="huge"), -1.7e308])
def test_a_success_with_impossible_time_stamps_took_no_time(stamp: float) -> None:
    messages = [
        ["execution_start", {"prompt_id": "id", "timestamp": stamp}],
        ["execution_success", {"prompt_id": "id", "timestamp": 1.7e308}],
    ]
    status = {"status_str": "success", "messages": messages}
    entry = history_entry({"id": {"status": status, "outputs": {}}}, "id")
    assert entry is not None
    assert (entry.outcome, entry.engine_s) == (Outcome.SUCCESS, 0.0)


def test_an_interrupt_is_told_from_an_error_though_the_server_calls_both_errors() -> None:
    assert only_entry("history_execution_interrupted").outcome is Outcome.INTERRUPTED
    error = only_entry("history_execution_error_corrupt_image")
    assert error.outcome is Outcome.ERROR
    assert error.error.node_type == "LoadImage"


def test_a_prompt_that_is_not_in_the_history_has_no_entry() -> None:
    assert history_entry({}, "some-id") is None


@pytest.mark.parametrize("body", [None, [], 3, {"id": {}}, {"id": {"status": None, "outputs": {}}}])
def test_a_history_that_makes_no_sense_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        history_entry(body, "id")


def test_pending_prompts_are_put_in_the_order_of_their_turn() -> None:
    body = {
        "queue_running": [[4, "now", {}, {}, []]],
        "queue_pending": [[7, "third", {}, {}, []], [5, "first", {}, {}, []], [6, "second", {}, {}, []]],
    }
    state = queue_state(body)
    assert state == QueueState(("now",), ("first", "second", "third"))
    assert "second" in state
    assert "fourth" not in state


@pytest.mark.parametrize("body", [None, [], {}, {"queue_running": [], "queue_pending": {}}])
def test_a_queue_that_makes_no_sense_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        queue_state(body)


@pytest.mark.parametrize(
    ("name", "version", "os"),
    [("system_stats", "0.3.64", "posix"), ("system_stats-0.33.0", "0.33.0", "linux")],
)
def test_both_versions_tell_what_they_are(name: str, version: str, os: str) -> None:
    stats = system_stats(recorded(name)["json"])
    assert (stats.version, stats.os, stats.device, stats.embedded) == (version, os, "cpu", False)
    assert stats.vram_total > 0


@pytest.mark.parametrize("number", [float("inf"), float("nan"), pytest.param(10**400, id="huge")])
def test_impossible_numbers_in_the_stats_and_in_the_queue_do_no_harm(number: float) -> None:
    stats = system_stats({"system": {}, "devices": [{"name": "gpu", "vram_total": number}]})
    assert stats.vram_total == 0
    rows = [[number, "a"], [3, "b"]]
    assert set(queue_state({"queue_running": [], "queue_pending": rows}).pending) == {"a", "b"}


@pytest.mark.parametrize(
    ("name", "kind", "detail"),
    [
        (
            "missing_input",
            "prompt_outputs_failed_validation",
            "node 5 (KSampler) seed: Required input is missing",
        ),
        ("one_good_one_bad_output", "node_errors", "node 8"),
        ("bad_model_name", "prompt_outputs_failed_validation", "'nope.safetensors' not in"),
    ],
)
def test_a_refusal_names_the_node_and_what_is_wrong_with_it(name: str, kind: str, detail: str) -> None:
    error = rejection(recorded(f"error_{name}")["response"]["json"])
    assert error.kind == kind
    assert any(detail in told for told in error.details)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("unknown_node_class", "invalid_prompt"), ("unknown_node_class-0.33.0", "missing_node_type")],
)
def test_a_missing_node_class_is_named(name: str, kind: str) -> None:
    error = rejection(recorded(f"error_{name}")["response"]["json"])
    assert error.kind == kind
    assert "NoSuchNode" in str(error) or "does not exist" in str(error)


@pytest.mark.parametrize(
    "body", [None, [], {"error": "no"}, {"node_errors": {"1": None, "2": {"errors": 3}}}]
)
def test_a_refusal_that_makes_no_sense_is_still_a_refusal(body: object) -> None:
    assert rejection(body).kind in {"node_errors", "error"}


WRONG = [None, True, 3, -1.5, "text", "", [], [None], {}, {"x": None}, 10**400, [[]], [[3]]]


def spoilt(body: Any) -> Iterator[Any]:
    """The body with each of its parts replaced by each of the wrong ones."""
    yield from WRONG
    keys = list(body) if isinstance(body, dict) else range(len(body)) if isinstance(body, list) else ()
    for key in keys:
        for part in spoilt(body[key]):
            copy = body.copy()
            copy[key] = part
            yield copy


@pytest.mark.parametrize("name", ["history_img2img_previewimage", "history_execution_interrupted"])
def test_f16_a_history_with_any_part_of_a_wrong_type_is_read_or_refused(name: str) -> None:
    body = recorded(name)
    (prompt_id,) = body
    body[prompt_id]["prompt"] = []  # the graph is not looked at
    for wrong in spoilt(body):
        with contextlib.suppress(ValueError):
            history_entry(wrong, prompt_id)


def test_f16_so_are_a_queue_the_stats_and_a_refusal() -> None:
    row = [7, "id", {}, {}, []]
    parsers = (
        (queue_state, {"queue_running": [row], "queue_pending": [row, row]}),
        (system_stats, recorded("system_stats")["json"]),
        (rejection, recorded("error_missing_input")["response"]["json"]),
    )
    for parse, body in parsers:
        for wrong in spoilt(body):
            with contextlib.suppress(ValueError):
                parse(wrong)
