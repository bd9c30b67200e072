from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from backend.film.stills import Still
from backend.film.timeline import FADE_S, frame_count, frames, loop_fade_frames, looped


def grey(level: float) -> Image.Image:
    return Image.new("RGB", (4, 4), (round(level),) * 3)


def level(frame: Image.Image) -> int:
    return int(np.asarray(frame)[0, 0, 0])


def stills(*durations_s: float, step: int = 10) -> list[Still]:
    return [Still(grey(place * step), seconds) for place, seconds in enumerate(durations_s)]


def levels(made: Iterator[Image.Image]) -> list[int]:
    return [level(frame) for frame in made]


@pytest.mark.parametrize("blend", [True, False])
def test_at_the_rate_of_the_pictures_each_frame_is_a_picture(blend: bool) -> None:
    pictures = stills(*[0.1] * 20)
    made = list(frames(pictures, 10.0, blend=blend))
    assert made == [still.picture for still in pictures]


def test_between_pictures_a_frame_is_a_blend_in_proportion() -> None:
    assert levels(frames(stills(*[0.1] * 3, step=30), 30.0)) == [0, 10, 20, 30, 40, 50, 60, 60, 60]


def test_without_blends_a_picture_stands_until_the_next() -> None:
    assert levels(frames(stills(0.1, 0.3, 0.1), 10.0, blend=False)) == [0, 10, 10, 10, 20]


def test_a_long_still_stands_and_then_gives_way() -> None:
    made = levels(frames(stills(4.0, 4.0, step=200), 10.0))
    stands = round((4.0 - FADE_S) * 10)
    assert set(made[: stands + 1]) == {0}
    assert all(a < b for a, b in itertools.pairwise(made[stands:41]))
    assert set(made[40:]) == {200}


@pytest.mark.parametrize("fps", [1.0, 7.0, 23.976, 24.0, 25.0, 30.0, 59.94, 144.0])
@pytest.mark.parametrize("durations_s", [[0.1] * 57, [1 / 3] * 40, [0.04, 4.0, 0.25, 1.0], [2.0]])
def test_a_film_lasts_as_long_as_its_pictures(fps: float, durations_s: list[float]) -> None:
    made = sum(1 for _ in frames(stills(*durations_s), fps))
    assert made == frame_count(sum(durations_s), fps)
    assert abs(made / fps - sum(durations_s)) <= 1.0 / fps


def test_a_picture_of_no_time_is_led_to_and_never_stands() -> None:
    assert levels(frames(stills(0.1, 0.0, step=90), 30.0)) == [0, 30, 60]


def test_a_film_of_nothing_has_no_frames() -> None:
    assert list(frames([], 30.0)) == []


def test_the_end_of_a_loop_flows_into_its_beginning() -> None:
    count, fade = 60, 20

    def ramp() -> Iterator[Image.Image]:
        return (grey(4 * number) for number in range(count))

    made = levels(looped(ramp, count, fade))
    assert len(made) == count - fade
    assert made[: count - 2 * fade] == [4 * number for number in range(fade, count - fade)]
    seam = abs(made[0] - made[-1])
    within = max(abs(a - b) for a, b in itertools.pairwise(made))
    assert seam <= within + 1
    assert abs(made[-1] - 4 * (fade - 1)) <= 4


def test_short_films_fade_over_a_third_at_the_most() -> None:
    assert loop_fade_frames(900, 30.0) == 60
    assert loop_fade_frames(30, 30.0) == 10
    assert loop_fade_frames(1, 30.0) == 0
