from __future__ import annotations

import io
import itertools
import random
from dataclasses import dataclass, field

import pytest
from PIL import Image

from backend.cache.memory_row import Memory, Origin
from backend.core.frame_buffer import FrameKind
from backend.core.remembering import Remembering
from backend.errors import StorageError
from tests.fakes.memory_engine import picture

FRAME_S, FADE_S = 0.1, 0.5


def memory(name: str) -> Memory:
    return Memory(
        id=name,
        added_at="2026-11-20T12:00:00.000Z",
        theme=f"theme of {name}",
        prompt="",
        negative="",
        seed=0,
        parents=(),
        denoise=1.0,
        score=0.5,
        shows_prompt=None,
        origin=Origin.DREAMT,
        pinned=False,
        times_shown=0,
        last_shown_at=None,
        picture="",
        latent=None,
        width=64,
        height=40,
        identity=None,
    )


@dataclass
class Ring:
    """So many memories in a ring; the nearest are the next ones to both sides."""

    count: int
    size: tuple[int, int] = (64, 40)
    broken: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return self.count

    def get(self, memory_id: str) -> Memory | None:
        return memory(memory_id)

    def picture(self, memory_id: str) -> bytes:
        if memory_id in self.broken:
            from pathlib import Path

            raise StorageError(Path(memory_id), OSError(5, "Input/output error"))
        return picture(int(memory_id), self.size)

    def nearest_to(self, memory_id: str, k: int) -> list[tuple[str, float]]:
        here = int(memory_id)
        offsets = sorted(range(-self.count // 2, self.count // 2), key=abs)[: k + 1]
        return [(str((here + offset) % self.count), 1.0 - abs(offset) / self.count) for offset in offsets]

    def some(self, count: int, rng: random.Random) -> list[str]:
        return [str(number) for number in rng.sample(range(self.count), min(count, self.count))]


def walk(ring: Ring, seed: int = 1, frame_s: float = FRAME_S, fade_s: float = FADE_S) -> Remembering:
    return Remembering(ring, frame_s=frame_s, fade_s=fade_s, max_pixels=100_000, rng=random.Random(seed))


def themes_of(ring: Ring, pictures: int, seed: int = 1) -> list[str]:
    frames = itertools.islice(walk(ring, seed).frames(picture(999)), pictures * 5)
    return [frame.theme for frame in list(frames)[4::5]]


def test_each_picture_fades_into_the_next_without_a_cut() -> None:
    start = picture(999)
    frames = list(itertools.islice(walk(Ring(20)).frames(start), 10))
    assert all(frame.kind is FrameKind.REPLAY and frame.duration_s == FRAME_S for frame in frames)
    steps = [distance(one, other) for one, other in itertools.pairwise([start, *(f.data for f in frames)])]
    whole = distance(start, frames[4].data)
    assert max(steps[:5]) < 0.6 * whole
    assert min(steps[:5]) > 0


def distance(one: bytes, other: bytes) -> float:
    first, last = (Image.open(io.BytesIO(data)).convert("L").tobytes() for data in (one, other))
    return sum(abs(a - b) for a, b in zip(first, last, strict=True)) / len(first)


@pytest.mark.parametrize("count", [3, 10, 60])
def test_half_of_the_memory_is_shown_before_a_picture_comes_again(count: int) -> None:
    shown = themes_of(Ring(count), 3 * count)
    assert len(shown) == 3 * count
    for first, last in itertools.combinations(range(len(shown)), 2):
        if shown[first] == shown[last]:
            assert last - first > count // 2


def test_the_way_leads_through_neighbours() -> None:
    ring = Ring(60)
    numbers = [int(theme.removeprefix("theme of ")) for theme in themes_of(ring, 20)]
    leaps = [min((a - b) % 60, (b - a) % 60) for a, b in itertools.pairwise(numbers)]
    assert sum(leap <= 8 for leap in leaps) >= 15


def test_two_walks_differ() -> None:
    assert themes_of(Ring(60), 10, seed=1) != themes_of(Ring(60), 10, seed=2)


def test_a_picture_that_cannot_be_read_is_passed_over() -> None:
    ring = Ring(20, broken={str(number) for number in range(0, 20, 2)})
    shown = {int(theme.removeprefix("theme of ")) for theme in themes_of(ring, 15)}
    assert all(number % 2 for number in shown)


def test_a_picture_that_a_display_would_refuse_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(20)
    flat = io.BytesIO()
    Image.new("RGB", (64, 40), (240, 240, 238)).save(flat, "PNG")
    monkeypatch.setattr(
        ring, "picture", lambda name: flat.getvalue() if int(name) % 2 else picture(int(name), ring.size)
    )
    shown = [int(theme.removeprefix("theme of ")) for theme in themes_of(ring, 15)]
    assert len(shown) == 15
    assert all(number % 2 == 0 for number in shown)


def test_a_memory_of_which_nothing_can_be_read_ends_the_walk() -> None:
    assert list(walk(Ring(5, broken=set("01234"))).frames(picture(1))) == []


def test_a_memory_too_small_to_walk_through_gives_nothing() -> None:
    assert list(walk(Ring(2)).frames(picture(1))) == []


def test_pictures_of_another_size_are_cut_to_the_size_on_display() -> None:
    frames = list(itertools.islice(walk(Ring(10, size=(80, 80))).frames(picture(999)), 6))
    assert {Image.open(io.BytesIO(frame.data)).size for frame in frames} == {(64, 40)}


def test_where_the_machine_is_somebody_elses_pictures_fade_in_few_steps_that_last() -> None:
    remembering = walk(Ring(20))
    frames = remembering.frames(picture(999))
    assert [next(frames).duration_s for _ in range(5)] == [FRAME_S] * 5
    remembering.sparing = True
    spared = [next(frames) for _ in range(7)]
    assert sum(frame.duration_s for frame in spared) > 20.0
    assert [frame.theme == spared[0].theme for frame in spared] == [True] * 6 + [False]
    remembering.sparing = False
    assert [next(frames).duration_s for _ in range(12)][-1] == FRAME_S
