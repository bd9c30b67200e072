"""Where decoded frames are fewer than the display shows, the way between them is made of both."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.core.fading import Fading
from backend.core.frame_buffer import Frame, FrameKind, Joint
from backend.core.frame_shelf import ShownFrame
from backend.utils.picture_check import PictureFacts
from backend.utils.picture_formats import AS_IT_COMES, Encoding
from tests.core.test_playback import FACTS, FRAME_S, Display, make

LONG_S = 0.8


def grey(level: int, format: str = "png", size: tuple[int, int] = (64, 40)) -> bytes:
    """Of this brightness on the whole, with enough in it to be a picture."""
    ramp = np.linspace(-20, 20, size[0]) + np.linspace(-8, 8, size[1])[:, None]
    pixels = np.clip(level + ramp, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(file, format, quality=95)
    return file.getvalue()


def brightness(shown: ShownFrame) -> float:
    with Image.open(shown.path) as image:
        return float(np.asarray(image.convert("RGB")).mean())


@pytest.fixture
def display(tmp_path: Path) -> Display:
    return make(tmp_path)


def put(display: Display, levels: list[int], duration_s: float = LONG_S, joint: Joint = Joint.WALK) -> None:
    for level, place in zip(levels, display.buffer.reserve([duration_s] * len(levels)), strict=True):
        frame = Frame(grey(level), FACTS, FrameKind.IN_BETWEEN, "sea", duration_s, joint=joint)
        display.buffer.put(place, frame)


def watch(display: Display, seconds: float) -> list[tuple[float, ShownFrame]]:
    """What is shown, and when."""
    seen: list[tuple[float, ShownFrame]] = []
    for _ in range(round(seconds / 0.01)):
        before = display.playback.frames_shown
        display.playback.tick(display.clock.now)
        if display.playback.frames_shown > before and display.playback.newest is not None:
            seen.append((display.clock.now, display.playback.newest))
        display.clock.now += 0.01
    return seen


def test_the_display_keeps_its_rate_and_moves_evenly_from_one_decoded_frame_to_the_next(
    display: Display,
) -> None:
    put(display, [60, 180, 60])
    seen = watch(display, 2 * LONG_S)
    steps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(seen)]
    assert max(steps) <= FRAME_S + 0.011
    up = [brightness(shown) for _, shown in seen[:9]]
    assert up[0] == pytest.approx(60, abs=1)
    assert up[8] == pytest.approx(180, abs=1)
    assert np.allclose(np.diff(up), 15, atol=3)
    assert [shown.kind for _, shown in seen[:9]] == [
        FrameKind.IN_BETWEEN,
        *[FrameKind.CROSS_FADE] * 7,
        FrameKind.IN_BETWEEN,
    ]


def test_what_is_noted_of_each_frame_is_how_long_it_was_shown(display: Display) -> None:
    put(display, [60, 180, 60])
    seen = watch(display, 2 * LONG_S)
    for (earlier, shown), (later, _) in itertools.pairwise(seen):
        assert shown.duration_s == pytest.approx(later - earlier, abs=0.02)


def test_frames_of_the_usual_time_are_shown_as_they_came(display: Display) -> None:
    put(display, [60, 180, 60, 180], FRAME_S)
    assert {shown.kind for _, shown in watch(display, 1.0)} == {FrameKind.IN_BETWEEN}


def test_a_frame_that_comes_late_is_led_to_no_faster_than_others(display: Display) -> None:
    put(display, [60])
    early = watch(display, LONG_S / 2)
    put(display, [180])
    late = watch(display, LONG_S + 0.05)
    assert len(early) == 1
    levels = [60, *(brightness(shown) for _, shown in late)]
    assert levels[-1] == pytest.approx(180, abs=1)
    assert np.allclose(np.diff(levels), 15, atol=3)


def test_stills_are_not_faded(display: Display) -> None:
    put(display, [60, 180], joint=Joint.CUT)
    assert [shown.kind for _, shown in watch(display, 2.0)] == [FrameKind.IN_BETWEEN] * 2


def test_a_keyframe_that_no_walk_leads_to_is_faded_to_even_when_it_comes_late(display: Display) -> None:
    put(display, [60], FRAME_S)
    watch(display, 1.0)
    put(display, [180], FRAME_S, Joint.FADE)
    levels = [brightness(shown) for _, shown in watch(display, 2.0)]
    assert len(levels) > 8
    assert max(np.diff(levels)) < 30
    assert levels[-1] == pytest.approx(180, abs=1)


def test_after_frames_that_never_came_the_next_is_no_leap(display: Display) -> None:
    put(display, [60], FRAME_S)
    watch(display, 1.0)
    places = display.buffer.reserve([FRAME_S] * 10)
    display.buffer.put(places[9], Frame(grey(180), FACTS, FrameKind.KEYFRAME, "sea", FRAME_S))
    display.buffer.abandon(places[:9])
    levels = [brightness(shown) for _, shown in watch(display, 2.0)]
    assert max(np.diff([60, *levels])) < 30


def test_time_of_frames_that_never_came_is_faded_over(display: Display) -> None:
    places = display.buffer.reserve([FRAME_S] * 10)
    for place, level in ((places[0], 60), (places[9], 180)):
        display.buffer.put(place, Frame(grey(level), FACTS, FrameKind.KEYFRAME, "sea", FRAME_S))
    display.buffer.abandon(places[1:9])
    seen = watch(display, 1.5)
    assert len(seen) == 10
    assert np.allclose(np.diff([brightness(shown) for _, shown in seen]), 120 / 9, atol=3)


def test_shares_tell_what_was_decoded_and_what_was_made(display: Display) -> None:
    put(display, [60, 180, 60, 180, 60], 0.4)
    watch(display, 1.55)
    assert display.playback.share_of(FrameKind.CROSS_FADE) == pytest.approx(0.75)
    assert display.playback.share_of(FrameKind.KEYFRAME, FrameKind.IN_BETWEEN) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("encoding", "expected"), [(AS_IT_COMES, "jpeg"), (Encoding("webp"), "webp"), (Encoding("png"), "png")]
)
def test_made_frames_are_encoded_as_their_neighbours_or_as_is_wished(
    encoding: Encoding, expected: str
) -> None:
    fading = Fading(encoding, lambda: 0.0)
    facts = PictureFacts(64, 40, "jpeg")
    older, newer = (
        Frame(grey(level, "jpeg"), facts, FrameKind.IN_BETWEEN, "sea", 0.4) for level in (60, 180)
    )
    fading.step(0.0, older, newer, 0.4, 1.0, FRAME_S)
    made = fading.step(0.1, older, newer, 0.3, 1.0, FRAME_S).frame
    assert made is not None
    assert made.facts.format == expected
    with Image.open(io.BytesIO(made.data)) as image:
        assert image.format == expected.upper()


def test_a_machine_that_is_slow_at_it_makes_fewer() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.1  # each look at the clock, so a frame costs a tenth of a second
        return now

    fading = Fading(AS_IT_COMES, clock)
    older, newer = (Frame(grey(level), FACTS, FrameKind.IN_BETWEEN, "sea", 2.0) for level in (60, 180))
    fading.step(0.0, older, newer, 2.0, 1.0, FRAME_S)
    assert fading.first_s(older, newer, 1.0, FRAME_S) > 2 * FRAME_S


def test_a_frame_of_another_size_is_led_to_in_its_size(display: Display) -> None:
    put(display, [60])
    large = Frame(grey(180, size=(128, 80)), PictureFacts(128, 80, "png"), FrameKind.KEYFRAME, "sea", LONG_S)
    (place,) = display.buffer.reserve([LONG_S])
    display.buffer.put(place, large)
    seen = watch(display, LONG_S)
    assert [(shown.facts.width, shown.facts.height) for _, shown in seen[1:]] == [(128, 80)] * (len(seen) - 1)
