from __future__ import annotations

import json

import torch

from backend.interpolation.walk import Knot, Walk, Waypoint
from backend.interpolation.walk_course import course_of


def point(seed: int, name: str | None = "") -> Waypoint:
    latent = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Waypoint(latent, f"{seed}.latent [output]" if name == "" else name)


def smooth(*, unnamed: bool = False) -> Walk:
    before, start, end = point(0), point(1), point(2, None if unnamed else "")
    return Walk("smooth", Knot(start, before, end, 2.0, 4.0), Knot(end, start, before_s=4.0), 4.0)


def test_each_keyframe_travels_once_whatever_its_parts() -> None:
    course = course_of(smooth())
    assert course.names == ("1.latent [output]", "0.latent [output]", "2.latent [output]")
    told = json.loads(course.text)
    assert told["start"] == {"at": 0, "before": 1, "after": 2, "before_s": 2.0, "after_s": 4.0}
    assert (told["end"]["at"], told["end"]["before"], told["end"]["after"]) == (2, 0, None)
    assert (told["path"], told["seconds"]) == ("smooth", 4.0)


def test_the_batch_has_the_keyframes_in_the_order_of_their_numbers() -> None:
    walk = smooth()
    latents = course_of(walk).latents
    assert torch.equal(latents[0:1], walk.start.at.latent)
    assert torch.equal(latents[2:3], walk.end.at.latent)


def test_without_a_name_for_all_none_is_named() -> None:
    assert course_of(smooth(unnamed=True)).names == ()


def test_a_path_that_heeds_no_neighbours_is_sent_without_them() -> None:
    walk = smooth()
    course = course_of(Walk("slerp", walk.start, walk.end, 4.0))
    assert course.names == ("1.latent [output]", "2.latent [output]")
    assert json.loads(course.text)["start"] == {"at": 0}
