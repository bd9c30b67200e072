from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from backend.errors import EngineUnreachable, JobFailed, StorageError
from backend.film.keyframe_files import KeyframeFile, Told, file_name, keyframe_bytes, list_keyframes
from backend.film.manners import PoliteManners
from backend.film.recording import Recording, usable
from backend.film.rendering import Rendering
from backend.film.stills import Still
from backend.interpolation.decoder import LatentBatch
from backend.interpolation.gap_length import stretch
from backend.utils.prompt_manager import Prompt
from tests.film.pictures import encoded, moving

TOLD = Told("sea", "a quiet sea", "text", 7, 0.45, "sd15", "model", True)


def latent(turn: float, size: tuple[int, int] = (4, 4), channels: int = 4) -> torch.Tensor:
    """On a circle, so that a walk can be told by its angle."""
    flat = torch.zeros(channels * size[0] * size[1])
    flat[0], flat[1] = torch.cos(torch.tensor(turn)), torch.sin(torch.tensor(turn))
    return flat.view(1, channels, *size)


def turn_of(one: torch.Tensor) -> float:
    flat = one.flatten()
    return float(torch.atan2(flat[1], flat[0]))


def record(
    folder: Path, number: int, one: torch.Tensor, told: Told = TOLD, gap_s: float = 1.0
) -> KeyframeFile:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file_name(number, 1000.0 + number, gap_s)).write_bytes(keyframe_bytes(one, told))
    return list_keyframes(folder)[-1]


def circle(folder: Path, count: int = 4, **changes: object) -> list[KeyframeFile]:
    for number in range(count):
        record(folder, number + 1, latent(0.3 * number), replace(TOLD, **changes))  # type: ignore[arg-type]
    return list_keyframes(folder)


@dataclass
class Job:
    result: tuple[bytes, ...] | Exception
    callback: Callable[[], None] | None = None

    def done(self) -> bool:
        return True

    def pictures(self) -> tuple[bytes, ...]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        callback()


@dataclass
class Painter:
    """Decodes a latent into the wave of its angle; fails when it is told to."""

    fail: Callable[[LatentBatch], Exception | None] = lambda _: None
    batches: list[LatentBatch] = field(default_factory=list)

    def decode(self, batch: LatentBatch) -> Job:
        self.batches.append(batch)
        fault = self.fail(batch)
        made = tuple(encoded(moving(50 * turn_of(one))) for one in batch.latents)
        return Job(fault or made)


PLAIN = encoded(moving(0))


class Plain(Painter):
    """Quick: every latent gives the same picture."""

    def decode(self, batch: LatentBatch) -> Job:
        self.batches.append(batch)
        return Job((PLAIN,) * len(batch))


class Alone:
    def may_send(self, under_way: int) -> bool:
        return under_way < 2

    def ended(self, seconds: float) -> None:
        pass


def rendering(
    files: Sequence[KeyframeFile],
    painter: Painter,
    *,
    fps: float = 10.0,
    loops: bool = False,
    gap_s: float | None = None,
    path: str = "slerp",
    pacing: str = "uniform",
    words: Callable[[Prompt], Prompt] = lambda own: own,
) -> Rendering:
    fitting, _ = usable(files, "sd15", gap_s)
    return Rendering(
        Recording(fitting, loops=loops, fade_s=1.2),
        painter,
        fps=fps,
        path=path,
        pacing=pacing,
        frames_per_job=4,
        manners=Alone(),
        words=words,
        max_pixels=10_000,
    )


def turns(painter: Painter) -> list[float]:
    return [turn_of(one) for batch in painter.batches for one in batch.latents]


def seconds(stills: list[Still]) -> list[float]:
    return [still.duration_s for still in stills]


def test_a_walk_leads_evenly_through_the_keyframes_in_jobs_of_few(tmp_path: Path) -> None:
    painter = Painter()
    film = rendering(circle(tmp_path), painter)
    stills = list(film)
    assert len(stills) == film.pictures == 31
    assert sum(seconds(stills)) == pytest.approx(film.seconds) == pytest.approx(3.1)
    assert turns(painter) == pytest.approx([0.03 * step for step in range(31)], abs=2e-3)
    assert max(len(batch) for batch in painter.batches) == 4


@pytest.mark.parametrize("fps", [1.0, 7.0, 30.0])
def test_any_rate_can_be_asked_for(tmp_path: Path, fps: float) -> None:
    film = rendering(circle(tmp_path), Painter(), fps=fps)
    assert len(list(film)) == 3 * fps + 1
    assert film.seconds == pytest.approx(3.0 + 1.0 / fps)


def test_a_dream_can_be_slowed_down(tmp_path: Path) -> None:
    film = rendering(circle(tmp_path), Painter(), gap_s=2.5)
    assert film.seconds == pytest.approx(7.6)


@pytest.mark.parametrize(
    ("last_s", "begins"), [(2.5, 0.18), (2.0, 0.33), (0.35, 0.825), (0.1, 0.9), (0.01, 0.9), (9.0, 0.0)]
)
def test_a_film_can_begin_between_keyframes_and_is_as_long_as_is_asked_for(
    tmp_path: Path, last_s: float, begins: float
) -> None:
    painter = Painter()
    film = rendering(circle(tmp_path), painter)
    film.shorten(last_s)
    stills = list(film)
    assert sum(seconds(stills)) == pytest.approx(film.seconds)
    assert film.seconds == pytest.approx(min(last_s, 3.1), abs=0.1)
    assert turns(painter)[0] == pytest.approx(begins, abs=2e-3)
    assert turns(painter)[-1] == pytest.approx(0.9, abs=2e-3)


def test_a_ring_is_not_cut_open(tmp_path: Path) -> None:
    film = rendering(circle(tmp_path), Painter(), loops=True)
    before = film.seconds
    film.shorten(1.0)
    assert film.seconds == before


def test_of_stills_the_first_is_cut(tmp_path: Path) -> None:
    film = rendering(circle(tmp_path, walks=False), Painter())
    film.shorten(2.25)
    assert seconds(list(film)) == pytest.approx([0.25, 1.0, 1.0])


def test_gaps_keep_their_own_lengths(tmp_path: Path) -> None:
    record(tmp_path, 1, latent(0.0))
    record(tmp_path, 2, latent(0.3), gap_s=0.45)
    files = record(tmp_path, 3, latent(0.6), gap_s=2.0), *list_keyframes(tmp_path)
    stills = list(rendering(files[1:], Painter()))
    assert sum(seconds(stills)[:4]) == pytest.approx(0.45)
    assert sum(seconds(stills)) == pytest.approx(0.45 + 2.0 + 0.1)


def test_a_ring_leads_from_the_last_keyframe_back_to_the_first(tmp_path: Path) -> None:
    painter = Painter()
    film = rendering(circle(tmp_path), painter, loops=True)
    stills = list(film)
    closing = len(stills) - 30
    assert film.seconds == pytest.approx(3.0 + closing / 10, abs=0.06)
    way = turns(painter)
    assert way[30:] == pytest.approx([0.9 - 0.9 * step / closing for step in range(closing)], abs=2e-3)
    assert max(abs(a - b) for a, b in itertools.pairwise([*way, way[0]])) < 0.1


def test_stills_stand_as_long_as_they_did(tmp_path: Path) -> None:
    painter = Painter()
    stills = list(rendering(circle(tmp_path, walks=False), painter))
    assert seconds(stills) == [1.0] * 4
    assert turns(painter) == pytest.approx([0.0, 0.3, 0.6, 0.9], abs=2e-3)


def test_a_run_that_began_anew_and_another_model_are_faded_to(tmp_path: Path) -> None:
    circle(tmp_path, 2)
    record(tmp_path, 3, latent(1.0), replace(TOLD, walks=False))
    record(tmp_path, 4, latent(1.2))
    record(tmp_path, 5, latent(1.2, channels=16))
    stills = list(rendering(list_keyframes(tmp_path), Painter()))
    assert seconds(stills) == pytest.approx([0.1] * 10 + [1.2] + [0.1] * 10 + [1.2] + [0.1])


def test_a_change_of_size_is_walked_through(tmp_path: Path) -> None:
    circle(tmp_path, 2)
    record(tmp_path, 3, latent(0.6, (8, 8)))
    painter = Painter()
    stills = list(rendering(list_keyframes(tmp_path), painter))
    assert len(stills) == 21
    assert {tuple(batch.latents.shape[-2:]) for batch in painter.batches} == {(4, 4), (8, 8)}


def test_the_words_of_a_dream_on_the_same_engine_travel_with_the_latents(tmp_path: Path) -> None:
    painter = Painter()
    list(rendering(circle(tmp_path), painter, words=lambda own: replace(own, positive="the daemon's")))
    assert {batch.prompt.positive for batch in painter.batches} == {"the daemon's"}


def test_keyframes_of_other_models_and_broken_ones_are_counted(tmp_path: Path) -> None:
    circle(tmp_path, 3)
    record(tmp_path, 4, latent(1.0), replace(TOLD, family="sdxl"))
    broken = record(tmp_path, 5, latent(1.0))
    broken.path.write_bytes(b"broken")
    fitting, others = usable(list_keyframes(tmp_path), "sd15")
    assert ([one.file.sequence for one in fitting], others) == ([1, 2, 3], 2)
    assert [one.file.sequence for one in usable(list_keyframes(tmp_path)[:4], None)[0]] == [4]


def test_a_job_that_fails_is_sent_again_and_then_in_smaller_parts(tmp_path: Path) -> None:
    def too_much(batch: LatentBatch) -> Exception | None:
        return JobFailed("out_of_memory", "too much") if len(batch) > 1 else None

    painter = Painter(too_much)
    stills = list(rendering(circle(tmp_path, 2), painter))
    assert len(stills) == 11
    good = [batch for batch in painter.batches if len(batch) == 1]
    reference = Painter()
    assert [s.picture for s in stills] == [s.picture for s in rendering(list_keyframes(tmp_path), reference)]
    assert len(good) == 11


def test_a_failure_that_stays_ends_the_film(tmp_path: Path) -> None:
    painter = Painter(lambda _: JobFailed("execution", "it broke"))
    with pytest.raises(JobFailed, match="it broke"):
        list(rendering(circle(tmp_path, 2), painter))
    assert len(painter.batches) < 12


def test_a_keyframe_that_is_gone_ends_the_film_with_its_name(tmp_path: Path) -> None:
    files = circle(tmp_path, 3)
    film = rendering(files, Painter())
    files[2].path.unlink()
    with pytest.raises(StorageError, match=files[2].path.name):
        list(film)


@dataclass
class Clock:
    now: float = 0.0
    waits: int = 0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1


def manners(clock: Clock, busy: Callable[[], bool]) -> PoliteManners:
    return PoliteManners(busy, clock=clock, sleep=clock.sleep)


def test_alone_two_jobs_are_under_way() -> None:
    polite = manners(Clock(), lambda: False)
    assert [polite.may_send(under_way) for under_way in range(4)] == [True, True, False, False]


def test_where_others_wait_we_have_one_job_there_and_go_after_them() -> None:
    clock = Clock()
    polite = manners(clock, lambda: clock.now < 0.55)
    assert not polite.may_send(1)
    assert polite.may_send(0)
    assert clock.now == pytest.approx(0.6)


def test_an_engine_that_never_rests_lets_us_in_after_a_few_jobs_of_its_own() -> None:
    clock = Clock()
    polite = manners(clock, lambda: True)
    for job_s, waited_s in ((0.1, 1.0), (2.0, 6.0), (60.0, 30.0)):
        polite.ended(job_s)
        clock.now = 0.0
        assert polite.may_send(0)
        assert clock.now == pytest.approx(waited_s, abs=0.11)


def test_an_engine_that_does_not_answer_is_found_out_by_sending() -> None:
    def silent() -> bool:
        raise EngineUnreachable("http://127.0.0.1:1", "no")

    assert manners(Clock(), silent).may_send(0)


def bent(count: int) -> list[torch.Tensor]:
    """Keyframes on the unit sphere that turn a corner each time."""
    corners = [(1.0, 0.0, 0.1), (0.8, 0.6, 0.1), (0.9, 0.4, 0.6), (0.6, 0.9, 0.3), (0.9, 0.1, 0.5)]
    made = []
    for x, y, z in corners[:count]:
        flat = torch.zeros(64)
        flat[:3] = torch.tensor([x, y, z])
        made.append((flat / flat.norm()).view(1, 4, 4, 4))
    return made


@pytest.mark.parametrize("loops", [False, True])
def test_the_smooth_path_passes_every_keyframe_without_a_kink(tmp_path: Path, loops: bool) -> None:
    for number, one in enumerate(bent(5), 1):
        record(tmp_path, number, one, gap_s=0.5 + 0.5 * (number % 2))
    kinks = {}
    for path in ("slerp", "smooth"):
        painter = Plain()
        list(rendering(list_keyframes(tmp_path), painter, fps=100.0, loops=loops, path=path))
        way = torch.cat([batch.latents for batch in painter.batches]).flatten(1)
        if loops:
            way = torch.cat([way, way[:2]])
        speed = way.diff(dim=0) * 100.0
        kinks[path] = float(speed.diff(dim=0).norm(dim=1).max() / speed.norm(dim=1).mean())
    assert kinks["smooth"] < 0.2 < kinks["slerp"] / 2


def test_a_ring_takes_its_time_to_close_where_its_end_is_far_from_its_beginning(tmp_path: Path) -> None:
    near, far = (rendering(circle(tmp_path / str(count), count), Painter(), loops=True) for count in (2, 4))
    assert near.seconds == pytest.approx(2.0)
    assert far.seconds == pytest.approx(3.0 + stretch(0.9, 0.3), abs=0.02)
    assert far.seconds > 5.0


def test_by_perception_each_frame_turns_equally_far_and_eased_keyframes_rest(tmp_path: Path) -> None:
    for number, one in enumerate(bent(5), 1):
        record(tmp_path, number, one)
    spread = {}
    for pacing in ("uniform", "perceptual", "eased"):
        painter = Plain()
        list(rendering(list_keyframes(tmp_path), painter, fps=50.0, path="smooth", pacing=pacing))
        way = torch.cat([batch.latents for batch in painter.batches]).flatten(1)
        steps = way.diff(dim=0).norm(dim=1).view(4, 50)
        assert len(way) == 201
        spread[pacing] = float((steps.std(dim=1) / steps.mean(dim=1)).max())
        if pacing == "eased":
            assert bool((steps[:, 0] < 0.2 * steps[:, 25]).all())
    assert spread["perceptual"] < 0.2 * spread["uniform"] < spread["eased"]
