"""F27: whatever is done to config.yaml while it dreams, the stream goes on; a good edit is taken up.

That it takes less than two seconds is asserted where the clock is handed in, tests/core/test_config_watch.py;
here the watch looks as often as it can.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.core import config_watch
from tests.core.test_config_watch import WAYS, as_vim_does, in_place
from tests.faults.stage import Stage, well

log = logging.getLogger(__name__)

Edit = Callable[[Path, str], None]


@pytest.fixture(autouse=True)
def hurried_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_watch, "LOOK_S", 0.05)
    monkeypatch.setattr(config_watch, "_SETTLED_S", 0.04)
    monkeypatch.setattr(config_watch, "_PATIENCE_S", 0.3)


def text_of(on: Stage, **sections: dict[str, Any]) -> str:
    """The settings of the stage with others, a line each."""
    tree = json.loads((on.folder / "config.yaml").read_text())
    for name, values in sections.items():
        tree.setdefault(name, {}).update(values)
    return yaml.safe_dump(tree, sort_keys=False)


def goes_on(on: Stage, frames: int = 8) -> dict[str, Any]:
    shown = on.status()["frame"]["sequence"]
    return on.wait_for(lambda now: now["frame"]["sequence"] >= shown + frames)


def is_taken(on: Stage, path: Path, text: str, edit: Edit, fps: int) -> None:
    before, began = on.status(), time.monotonic()
    edit(path, text)
    after = on.wait_for(
        lambda now: now["display"]["fps"] == fps and now["config"]["taken"] > before["config"]["taken"]
    )
    log.info("F27: taken up after %.2f s", time.monotonic() - began)
    assert after["config"]["ok"]
    assert after["config"]["taken"] == before["config"]["taken"] + 1
    assert after["display"]["skipped"] == before["display"]["skipped"]


def mistakes(good: str) -> dict[str, str]:
    return {
        "syntax": good + "display: {fps: [\n",
        "dream.denoise": good.replace("dream:", "dream:\n  denoise: a lot"),
        "dream.denoize": good.replace("dream:", "dream:\n  denoize: 0.3"),
        "file": "",
    }


def is_refused(on: Stage, path: Path, text: str | None, key: str, edit: Edit = in_place) -> None:
    before = on.status()
    if text is None:
        path.unlink()
    else:
        edit(path, text)
    wrong = on.wait_for(lambda now: not now["config"]["ok"] and now["config"]["problems"][0]["key"] == key)
    problem = wrong["config"]["problems"][0]
    assert problem["wish"]
    assert wrong["display"]["fps"] == before["display"]["fps"]
    on.wait_for(lambda now: now["reason"]["code"] == "config" and key in now["reason"]["sentence"])
    assert goes_on(on)["config"]["taken"] == before["config"]["taken"]


def test_f27_mistakes_leave_all_as_it_was_and_a_good_edit_is_taken_up(on: Stage) -> None:
    path = on.folder / "config.yaml"
    good = text_of(on)
    for key, text in mistakes(good).items():
        is_refused(on, path, text, key)
    is_refused(on, path, None, "file")
    path.write_text(good)
    on.wait_for(well)
    is_taken(on, path, text_of_fps(good, 12), as_vim_does, 12)
    on.wait_for(well)
    on.more(1)


def text_of_fps(good: str, fps: int) -> str:
    tree = yaml.safe_load(good)
    tree["display"]["fps"] = fps
    return str(yaml.safe_dump(tree, sort_keys=False))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_f27_fifty_edits_of_every_kind_and_the_stream_never_stands_still(on: Stage) -> None:
    path = on.folder / "config.yaml"
    good = text_of(on)
    on.watch.longest_still_s = 0.0  # until the first picture it stands still, and may
    for round_number in range(10):
        for number, edit in enumerate(WAYS):
            fps = 10 + (round_number * len(WAYS) + number) % 15
            key, text = list(mistakes(good).items())[number % len(mistakes(good))]
            is_refused(on, path, text, key)
            is_taken(on, path, text_of_fps(good, fps), edit, fps)
    on.more(2)
    assert on.watch.longest_still_s < 3.0
    log.info("F27: the picture stood still for %.2f s at most", on.watch.longest_still_s)
