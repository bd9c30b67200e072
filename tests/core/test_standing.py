from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backend.core.standing import Standing
from backend.errors import Problem
from backend.utils.status_schema import Reason, ReasonCode, State

GAME = Reason(code=ReasonCode.MACHINE, sentence="steam runs")
LOST = Reason(code=ReasonCode.ENGINE_UNREACHABLE, sentence="nobody answers")
DREAMING = Standing(connected=True, begun=True, ready_s=2.0, late=True, size=(512, 320), full_size=(512, 320))
AWRY = replace(
    DREAMING,
    given_up="the playback hangs",
    paused=True,
    resting_for=GAME,
    storage_error="no space",
    sick="its device broke",
    trouble=LOST,
    replaying=True,
    prompt_problems=(Problem("sea.yaml", 2, "positive", "3", "a list"),),
)


@pytest.mark.parametrize(
    ("otherwise", "state"),
    [
        ({}, State.DREAMING),
        ({"begun": False}, State.DREAMING),
        ({"begun": False, "ready_s": 0.0}, State.BUFFERING),
        ({"begun": False, "connected": False}, State.STARTING),
        ({"has_enough": True}, State.RESTING),
        ({"ready_s": 0.0}, State.BUFFERING),
        ({"ready_s": 0.0, "late": False}, State.DREAMING),
        ({"ready_s": 0.0, "engine_away": True}, State.REMEMBERING),
        ({"engine_away": True}, State.DREAMING),
        ({"replaying": True}, State.REMEMBERING),
        ({"paused": True, "replaying": True}, State.PAUSED),
        ({"dark": True}, State.PAUSED),
        ({"stopping": True, "paused": True}, State.STOPPING),
    ],
)
def test_the_state_follows_from_how_the_dream_stands(otherwise: dict[str, Any], state: State) -> None:
    assert replace(DREAMING, **otherwise).state is state


def test_of_several_reasons_the_weightiest_is_told_and_each_in_its_turn() -> None:
    without: list[tuple[str, object]] = [
        ("given_up", None),
        ("paused", False),
        ("resting_for", None),
        ("storage_error", None),
        ("sick", None),
        ("trouble", None),
        ("replaying", False),
        ("prompt_problems", ()),
    ]
    standing, told = AWRY, []
    for name, calm in without:
        told.append(standing.reason.code)
        standing = replace(standing, **{name: calm})  # type: ignore[arg-type]
    assert told == [
        ReasonCode.FAULT,
        ReasonCode.USER,
        ReasonCode.MACHINE,
        ReasonCode.STORAGE,
        ReasonCode.ENGINE_ERROR,
        ReasonCode.ENGINE_UNREACHABLE,
        ReasonCode.ENGINE_SLOW,
        ReasonCode.PROMPTS,
    ]
    assert standing.reason == Reason(code=ReasonCode.OK, sentence="all is well")


def test_a_dream_that_ends_is_no_longer_paused_on_request() -> None:
    assert replace(DREAMING, paused=True, stopping=True).reason.code is ReasonCode.OK


def test_pictures_that_are_smaller_than_wished_are_told_though_all_is_well() -> None:
    reason = replace(DREAMING, size=(256, 160)).reason
    assert reason.code is ReasonCode.OK
    assert "256x160 px instead of 512x320" in reason.sentence
