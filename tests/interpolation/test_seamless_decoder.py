from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from backend.errors import DecoderUnfit, JobFailed
from backend.interpolation.decoder import Anchor, LatentBatch
from backend.interpolation.picture_futures import UNFIT
from backend.interpolation.seamless_decoder import SeamlessDecoder, finishing_pool
from backend.interpolation.spherical_lerp import slerp
from backend.utils.picture_formats import AS_IT_COMES, Encoding, format_of, pixels_of, size_of
from tests.interpolation.sources import (
    PROMPT,
    AtOnce,
    ByHand,
    grey_picture,
    latent,
    png,
    small_picture,
    true_picture,
)

START, END = latent(1), latent(2)
T = (0.02, 0.5, 0.98)


def anchor(of: torch.Tensor) -> Anchor:
    return Anchor(of, png(true_picture(of)))


def walk(t: tuple[float, ...] = T, start: torch.Tensor = START, end: torch.Tensor = END) -> LatentBatch:
    return LatentBatch(slerp(start, end, torch.tensor(t))[:, 0], PROMPT, t, anchor(start), anchor(end))


def bare(count: int = 2) -> LatentBatch:
    return LatentBatch(torch.cat([latent(seed) for seed in range(count)]), PROMPT)


def decoder(source: ByHand, encoding: Encoding = AS_IT_COMES, **wishes: object) -> SeamlessDecoder:
    return SeamlessDecoder(source, AtOnce(), encoding, **wishes)  # type: ignore[arg-type]


def off(picture: bytes, pixels: np.ndarray) -> float:
    return float(np.sqrt(np.square(pixels_of(picture).astype(float) - pixels.astype(float)).mean()))


def test_pictures_near_a_keyframe_are_led_into_it() -> None:
    source = ByHand()
    job = decoder(source).decode(walk())
    source.finish()
    first, _, last = job.pictures()
    assert off(png(small_picture(START)), true_picture(START)) > 8.0
    near_start, near_end = (slerp(START, END, torch.tensor([t]))[0] for t in (T[0], T[-1]))
    assert off(first, true_picture(near_start)) < 2.5
    assert off(last, true_picture(near_end)) < 2.5


def test_what_a_keyframe_has_over_its_latent_is_found_out_once_for_all_its_walks() -> None:
    source = ByHand()
    seamless = decoder(source)
    for batch in (walk((0.3,)), walk((0.6,)), walk((0.5,), END, latent(3))):
        seamless.decode(batch)
        source.finish()
    assert [len(asked) for asked in source.asked] == [1, 1, 1, 1, 1, 1]  # three keyframes, three walks


def test_a_walk_and_its_keyframes_are_asked_for_at_once_and_the_job_ends_with_the_last() -> None:
    source = ByHand()
    job = decoder(source).decode(walk())
    ended: list[bool] = []
    job.add_done_callback(lambda: ended.append(job.done()))
    assert [len(asked) for asked in source.asked] == [1, 1, 3]
    assert not job.done()
    source.finish()
    assert ended == [True]


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("scale", [0.25, 0.5, 0.8])
def test_decoded_smaller_they_have_the_size_of_the_keyframe_and_do_not_pop(
    scale: float, encoded: bool
) -> None:
    source = ByHand(paint=true_picture, encoded=encoded)
    job = decoder(source, scale=scale).decode(walk())
    cells = (max(4, round(10 * scale)), max(4, round(16 * scale)))
    assert {asked.shape[-2:] for asked in source.asked} == {cells}
    source.finish()
    pictures = job.pictures()
    assert {size_of(picture) for picture in pictures} == {(128, 80)}
    assert off(pictures[0], true_picture(slerp(START, END, torch.tensor([T[0]]))[0])) < 3.0


def test_decoded_smaller_without_a_keyframe_they_have_the_full_size_all_the_same() -> None:
    source = ByHand()
    job = decoder(source, scale=0.5).decode(bare())
    source.finish()
    assert {size_of(picture) for picture in job.pictures()} == {(128, 80)}


def test_a_walk_on_which_the_size_changed_meets_the_older_keyframe_in_the_newer_size() -> None:
    source = ByHand()
    older = Anchor(START, png(true_picture(latent(1, 20, 32))))
    batch = LatentBatch(START, PROMPT, (0.0,), older, anchor(END))
    job = decoder(source).decode(batch)
    source.finish()
    assert size_of(job.pictures()[0]) == (128, 80)


def test_pictures_are_encoded_as_the_display_wants_them() -> None:
    source = ByHand()
    job = decoder(source, Encoding("webp")).decode(walk())
    source.finish()
    assert {format_of(picture) for picture in job.pictures()} == {"webp"}


def test_pictures_arrive_one_by_one_before_the_job_ends() -> None:
    source = ByHand()
    job = decoder(source).decode(walk())
    calls: list[int] = []
    job.add_arrival_callback(lambda: calls.append(len(job.arrived())))
    source.finish(4)
    assert calls == [1, 1]
    assert not job.done()
    source.finish()
    assert calls == [1, 1, 1]
    assert job.arrived() == ()
    assert len(job.pictures()) == 3


def test_a_source_that_paints_grey_is_found_out_at_the_keyframe_and_nothing_of_it_is_shown() -> None:
    source = ByHand(paint=grey_picture)
    job = decoder(source, judged=True).decode(walk())
    source.finish()
    with pytest.raises(JobFailed, match="another model") as caught:
        job.pictures()
    assert caught.value.kind == UNFIT


def test_a_source_that_knows_the_latents_passes() -> None:
    source = ByHand()
    job = decoder(source, judged=True).decode(walk())
    source.finish()
    assert len(job.pictures()) == 3


def test_latents_that_mean_nothing_when_they_are_shrunk_are_found_out() -> None:
    source = ByHand(paint=lambda one: true_picture(one) if one.shape[-1] == 16 else grey_picture(one))
    job = decoder(source, judged=True, scale=0.5).decode(walk())
    source.finish()
    with pytest.raises(JobFailed, match=r"at 50% of its size .* cannot paint smaller"):
        job.pictures()


def test_a_failure_of_the_source_keeps_its_kind_and_the_next_try_asks_for_the_keyframes_again() -> None:
    source = ByHand()
    seamless = decoder(source)
    job = seamless.decode(walk())
    source.fail(JobFailed("oom", "no memory"))
    assert job.done()
    with pytest.raises(JobFailed, match="no memory") as caught:
        job.pictures()
    assert caught.value.kind == "oom"
    again = seamless.decode(walk())
    source.finish()
    assert len(again.pictures()) == 3


def test_a_broken_picture_fails_the_job_with_a_sentence() -> None:
    source = ByHand()
    job = decoder(source).decode(walk())
    for future, _ in source.waiting:
        future.set_result(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(JobFailed, match="broken") as caught:
        job.pictures()
    assert caught.value.kind == "no_pictures"


def test_what_the_source_refuses_is_raised_at_once() -> None:
    with pytest.raises(DecoderUnfit, match="5 channels"):
        decoder(ByHand(refuse=DecoderUnfit("5 channels"))).decode(walk())


def test_latents_with_a_time_axis_are_shrunk_as_others_are() -> None:
    source = ByHand(paint=lambda one: small_picture(one[:, :, 0]))
    job = decoder(source, scale=0.5).decode(LatentBatch(START.unsqueeze(2), PROMPT))
    source.finish()
    assert source.asked[0].shape == (1, 4, 1, 5, 8)
    assert size_of(job.pictures()[0]) == (128, 80)


def test_the_pool_finishes_pictures_beside_the_thread_that_asks() -> None:
    source = ByHand()
    pool = finishing_pool()
    job = SeamlessDecoder(source, pool, AS_IT_COMES).decode(walk())
    ended = threading.Event()
    job.add_done_callback(ended.set)
    source.finish()
    assert ended.wait(30.0)
    pool.shutdown()
    assert len(job.pictures()) == 3
