"""What we leave on a server: a ring of uploads, empty files for spent latents, no history."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backend.core.comfyui_api import FileRef
from backend.core.housekeeping import Housekeeping
from backend.errors import EngineAnswerError
from tests.contract.conftest import GUARD_S, Studio
from tests.contract.material import latent_of

pytestmark = pytest.mark.contract

UPLOADS = 40
RING = 16
JOBS = 40


class Remote:
    """The client as it is where the server's folders are out of reach."""

    def __init__(self, studio: Studio) -> None:
        self.url = studio.client.url
        self.upload = studio.client.upload

    def folder_paths(self) -> dict[str, tuple[Path, ...]]:
        return {}


def housekeeping(studio: Studio) -> Housekeeping:
    return Housekeeping(
        Remote(studio), instance=studio.server.name("x")[:-2], hour=lambda: "now", clock=time.monotonic
    )


def test_uploads_take_turns_under_a_few_names_in_temp(studio: Studio) -> None:
    keeping = housekeeping(studio)
    refs = [studio.client.upload(b"%d" % turn, keeping.ring_name("latent")) for turn in range(UPLOADS)]
    assert len(set(refs)) == RING
    assert {ref.type for ref in refs} == {"temp"}
    for turn in range(UPLOADS - RING, UPLOADS):
        assert studio.client.download(refs[turn]) == b"%d" % turn, "the newest under its name"


def test_a_spent_latent_takes_no_space_and_the_next_save_does_not_stumble_over_it(studio: Studio) -> None:
    keeping = housekeeping(studio)
    _, first = studio.keyframe()
    assert latent_of(studio.client.download(first)).size > 0
    keeping.retire(first)
    assert size_of(studio, first) == 0
    _, second = studio.keyframe()
    assert second != first
    assert latent_of(studio.client.download(second)).size > 0
    keeping.retire(second)


def size_of(studio: Studio, ref: FileRef) -> int:
    try:
        return len(studio.client.download(ref))
    except EngineAnswerError:
        return 0


def test_our_history_does_not_grow(studio: Studio) -> None:
    """Entries are deleted some at a time; those of others stay."""
    theirs = studio.server.post("/prompt", json={"prompt": studio.server.keyframe().graph}).json()[
        "prompt_id"
    ]
    decode = studio.server.keyframe()
    ours = [studio.finish(decode).prompt_id for _ in range(JOBS)]
    until = time.monotonic() + GUARD_S
    while len(kept := told(studio, ours)) >= JOBS // 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(kept) < JOBS // 2
    assert told(studio, [theirs]) == [theirs]
    studio.server.post("/history", json={"delete": [theirs]})


def told(studio: Studio, prompt_ids: list[str]) -> list[str]:
    """Which of them the history has."""
    history = studio.server.get("/history").json()
    return [prompt_id for prompt_id in prompt_ids if prompt_id in history]
