"""Films painted once more keep the pace at which the dream was shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from backend.config import settings_from
from backend.core.frame_buffer import FrameKind
from backend.core.generator import Keyframe
from backend.core.shown_gaps import ShownGap, ShownGaps
from backend.film.keyframe_files import list_keyframes
from backend.film.recorder import Recorder
from backend.film.recording import Recording, usable
from backend.film.showings import FOLDER, ShowingLog, as_shown
from benchmarks.painted_engine import PaintedEngine, Painting, PaintingDecoder
from benchmarks.virtual_dream import VirtualClock, VirtualLoop, loop_of
from tests.film.test_recorder import FACTS, latent, record, recorder
from tests.film.test_rendering import Painter, circle, rendering, turns
from tests.film.test_rendering import record as record_file

SIZE = (96, 64)
PROMPTS = Path(__file__).parents[2] / "prompts"
FPS = 10
GAP_S = 1.0


def begin(folder: Path) -> tuple[VirtualLoop, VirtualClock]:
    tree = {
        "dream": {"size": "{}x{}".format(*SIZE), "seed": 3, "seconds_per_keyframe": GAP_S, "denoise": 0.6},
        "display": {"fps": FPS},
        "prompts": {"folder": str(PROMPTS), "order": "sequential"},
        "storage": {"output": str(folder / "output")},
    }
    settings = settings_from(json.dumps(tree).encode(), folder / "config.yaml", {}).settings
    painting, clock = Painting(SIZE), VirtualClock()
    return loop_of(settings, PaintedEngine(painting), PaintingDecoder(painting), clock), clock


def dreamt(folder: Path, keyframes: int) -> list[float]:
    """Dream, and record it; gives how long each gap took on the display, as far as it was shown."""
    loop, clock = begin(folder)
    one = Recorder(
        folder / "keyframes",
        keep_s=3600.0,
        budget_bytes=10**9,
        walks=lambda: True,
        gap_s=lambda: loop.gaps.opened_s,
        facts=lambda: FACTS,
        wall=lambda: clock.now,
    )

    def hear(keyframe: Keyframe, latent: torch.Tensor | None) -> None:
        one.offer(keyframe, latent)

    loop.controller.on_keyframe, loop.buffer.on_taken = hear, ShownGaps(one.shown).taken
    taken: list[float] = []
    while len(taken) < keyframes:
        busy = loop.controller.turn()
        while one.turn():
            pass
        if busy:
            continue
        frame = loop.buffer.take(clock.now)
        clock.now += 0.1 if frame is None else frame.duration_s
        if frame is not None and frame.kind is FrameKind.KEYFRAME:
            taken.append(0.0)
        if frame is not None and taken:
            taken[-1] += frame.duration_s
    while one.turn():
        pass
    return taken[:-1]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("dreamt")
    return folder / "keyframes", dreamt(folder, 9)


def test_a_film_of_a_dream_has_the_gaps_that_were_shown(shown: tuple[Path, list[float]]) -> None:
    folder, gaps = shown
    arrived = list_keyframes(folder)
    files = as_shown(arrived, folder)
    assert max(gaps) > 1.2 * min(gaps), "else there is nothing to be kept"
    assert len(files) == len(gaps) + 1 < len(arrived), "what nobody has seen yet is no part of it"
    film = Recording(usable(files, None)[0], loops=False, fade_s=1.2)
    assert [joint.seconds for joint in film.joints] == pytest.approx(gaps, abs=1e-3)
    assert [one.gap_s for one in arrived[1 : len(files)]] != pytest.approx(gaps, abs=0.05)


def test_its_frames_lie_where_they_lay(shown: tuple[Path, list[float]]) -> None:
    folder, _ = shown
    files = as_shown(list_keyframes(folder), folder)
    film = Recording(usable(files, None)[0], loops=False, fade_s=1.2)
    courses = [joint.course for joint in film.joints]
    assert all(len(course) >= 5 for course in courses)
    off = [abs(way - moment) for course in courses for moment, way in course]
    assert max(off) > 0.05, "the eye paces it, not the walk"


def test_a_film_follows_the_course_of_the_dream(tmp_path: Path) -> None:
    files = circle(tmp_path, 2)
    log = ShowingLog(tmp_path)
    log.add(1, 1001.5, ShownGap(1), 0)
    log.add(2, 1003.5, ShownGap(2, 1, 2.0, ((0.5, 0.2), (0.75, 0.8))), 0)
    painter = Painter()
    film = rendering(as_shown(files, tmp_path), painter, fps=4.0)
    assert film.seconds == pytest.approx(2.25)
    list(film)
    ways = [0.0, 0.05, 0.1, 0.15, 0.2, 0.5, 0.8, 0.9, 1.0]
    assert turns(painter) == pytest.approx([0.3 * way for way in ways], abs=2e-3)


def test_other_seconds_a_keyframe_keep_the_course(tmp_path: Path) -> None:
    files = circle(tmp_path, 2)
    ShowingLog(tmp_path).add(2, 1003.5, ShownGap(2, 1, 2.0, ((0.5, 0.2),)), 0)
    painter = Painter()
    film = rendering(as_shown(files, tmp_path), painter, fps=4.0, gap_s=1.0)
    assert film.seconds == pytest.approx(1.25)
    list(film)
    assert turns(painter) == pytest.approx([0.0, 0.03, 0.06, 0.18, 0.3], abs=2e-3)


def test_a_keyframe_is_dated_when_it_was_shown_and_one_not_seen_yet_is_left_out(tmp_path: Path) -> None:
    files = circle(tmp_path, 4)
    log = ShowingLog(tmp_path)
    log.add(2, 1012.5, ShownGap(2, 1, 1.5), 0)
    log.add(3, 1014.5, ShownGap(3), 0)
    assert [(one.sequence, one.at, one.gap_s, one.was_shown) for one in as_shown(files, tmp_path)] == [
        (1, 1001.0, 1.0, False),
        (2, 1012.5, 1.5, True),
        (3, 1014.5, 1.0, False),
    ]


def test_a_recording_without_notes_and_broken_notes_is_as_it_was(tmp_path: Path) -> None:
    files = circle(tmp_path, 3)
    assert as_shown(files, tmp_path) == files
    (tmp_path / FOLDER).mkdir()
    good = {"sequence": 2, "shown_at": 1003.5, "gap_s": 2.0, "course": [[0.5, 0.2]]}
    broken: list[dict[str, object]] = [
        {"gap_s": -1.0},
        {"gap_s": "x"},
        {"course": [[0.5, 1.2]]},
        {"course": [[0.6, 0.2], [0.5, 0.3]]},
        {"course": [[float("nan"), 0.2]]},
        {"course": [1]},
        {"shown_at": float("inf")},
        {"shown_at": 3.0},  # of another recording, of which these numbers are left
    ]
    lines = [json.dumps(good | change) for change in broken]
    (tmp_path / FOLDER / "000000001.jsonl").write_text("\n".join([*lines, '{"sequence": 2', "[]"]))
    assert as_shown(files, tmp_path) == files


def test_a_gap_that_was_faded_over_takes_its_time_in_the_film_too(tmp_path: Path) -> None:
    circle(tmp_path, 1)
    record_file(tmp_path, 2, latent(1).repeat(1, 4, 1, 1))
    files = list_keyframes(tmp_path)
    ShowingLog(tmp_path).add(2, 1003.5, ShownGap(2, 1, 2.5), 0)
    film = Recording(usable(as_shown(files, tmp_path), None)[0], loops=False, fade_s=1.2)
    assert [joint.seconds for joint in film.joints] == [2.5]


def test_the_recorder_notes_a_gap_between_files_that_follow_one_another(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    record(one, 5, 6, 8)
    one.shown(ShownGap(5))
    one.shown(ShownGap(6, 5, 2.5))
    one.shown(ShownGap(7, 6, 2.5))
    one.shown(ShownGap(8, 7, 2.5))
    one.shown(ShownGap(99, 98, 2.5))
    while one.turn():
        pass
    files = as_shown(list_keyframes(tmp_path), tmp_path)
    assert [(file.sequence, file.gap_s, file.was_shown) for file in files] == [
        (1, 4.0, False),
        (2, 2.5, True),
        (3, 4.0, False),
    ]


def test_notes_of_a_recording_that_was_deleted_are_forgotten_with_it(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    record(one, 1, 2)
    one.shown(ShownGap(2, 1, 2.5))
    while one.turn():
        pass
    for path in tmp_path.glob("*.latent"):
        path.unlink()
    record(recorder(tmp_path), 1, 2)
    assert not any(file.was_shown for file in as_shown(list_keyframes(tmp_path), tmp_path))


def test_a_disk_that_takes_no_notes_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    log = ShowingLog(tmp_path)
    for number in (1, 2):
        log.add(number, 1.0, ShownGap(number), 0)
    assert len(caplog.records) == 1
