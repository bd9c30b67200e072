from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.errors import DecoderUnfit, JobFailed
from backend.interpolation.latent_spaces import LatentSpace
from backend.interpolation.local_source import LocalSource
from backend.interpolation.local_vae import Device, OutOfMemory
from backend.interpolation.picture_futures import UNFIT
from backend.interpolation.vae_file import VaeFile, VaeKind
from tests.interpolation.sources import PROMPT

PATIENCE_S = 300.0


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Roomy(Device):
    """A device with as much free memory as the test says."""

    free: int = 10**12

    def free_bytes(self) -> int:
        return self.free


@dataclass
class FakeVae:
    """A decoder that says how many latents it was given at a time.

    Attributes:
        fits: More at a time are too much.
        at_each: Called before each batch.
    """

    device: Any = Roomy("cuda", torch.float16)
    fits: int = 1000
    peak: float = 1e6
    at_each: Callable[[], None] = lambda: None
    batches: list[int] = field(default_factory=list)
    spaces: list[LatentSpace | None] = field(default_factory=list)

    def peak_bytes(self, latents: Tensor) -> float:
        return self.peak

    def decode(self, latents: Tensor, space: LatentSpace | None) -> Tensor:
        self.at_each()
        self.batches.append(len(latents))
        self.spaces.append(space)
        if len(latents) > self.fits:
            raise OutOfMemory("CUDA out of memory")
        return (latents[:, :3, :1, :1] * 10).to(torch.uint8).permute(0, 2, 3, 1)


class ByHand(LocalSource):
    """Its thread is the test."""

    def _start(self) -> None:
        pass

    def work(self) -> None:
        while not self._works.empty():
            found = self._works.get()
            if found is not None:
                self.turn(found)


@dataclass
class Studio:
    source: ByHand
    vae: FakeVae
    clock: Clock

    def decoded(self, count: int) -> list[Future[Any]]:
        futures = self.source.submit(latents(count), PROMPT)
        self.source.work()
        return futures


def latents(count: int, channels: int = 4) -> Tensor:
    return torch.arange(count).float().view(count, 1, 1, 1).expand(count, channels, 5, 8).contiguous()


def file(name: str = "taesd_decoder.safetensors", channels: int = 4, kind: VaeKind = VaeKind.TINY) -> VaeFile:
    return VaeFile(Path("/models") / name, kind, channels, {}, {})


def studio(
    vae: FakeVae | None = None, of: VaeFile | None = None, line: str = "sd15", load: Any = None
) -> Studio:
    found, clock = vae or FakeVae(), Clock()
    source = ByHand(
        of or file(), load or (lambda: found), line=lambda: line, patience_s=PATIENCE_S, clock=clock
    )
    return Studio(source, found, clock)


def refusal(of: Studio, given: Tensor) -> str:
    with pytest.raises(DecoderUnfit) as caught:
        of.source.submit(given, PROMPT)
    return str(caught.value)


def test_pictures_come_in_order_in_batches() -> None:
    room = studio()
    futures = room.decoded(5)
    assert [int(future.result(0)[0, 0, 0]) for future in futures] == [0, 10, 20, 30, 40]
    assert room.vae.batches == [5]


def test_as_many_are_decoded_together_as_half_of_the_free_memory_takes() -> None:
    room = studio(FakeVae(Roomy("cuda", torch.float16, free=8_000_000), peak=1e6))
    room.decoded(10)
    assert room.vae.batches == [4, 4, 2]


def test_a_cpu_decodes_one_at_a_time_since_more_gains_nothing() -> None:
    room = studio(FakeVae(Roomy("cpu", torch.float32)))
    room.decoded(3)
    assert room.vae.batches == [1, 1, 1]


def test_without_memory_fewer_are_decoded_together_and_none_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    room = studio(FakeVae(fits=3))
    with caplog.at_level(logging.WARNING):
        futures = room.decoded(20)
    assert [int(future.result(0)[0, 0, 0]) for future in futures] == [10 * n % 256 for n in range(20)]
    assert room.vae.batches[:2] == [20, 16]
    assert max(room.vae.batches[-6:]) <= 3
    assert "at a time now" in caplog.text


def test_after_a_quiet_while_more_are_tried_again() -> None:
    room = studio(FakeVae(fits=8))
    room.decoded(32)
    room.vae.batches.clear()
    room.clock.now += 601.0
    room.vae.fits = 1000
    room.decoded(32)
    assert room.vae.batches[0] == 16


def test_where_not_even_one_picture_fits_the_engine_is_to_do_it() -> None:
    room = studio(FakeVae(fits=0))
    for future in room.decoded(2):
        with pytest.raises(JobFailed, match="one picture at a time") as caught:
            future.result(0)
        assert caught.value.kind == UNFIT


def test_on_the_cpu_nothing_is_begun_that_the_system_would_end_us_for() -> None:
    room = studio(FakeVae(Roomy("cpu", torch.float32, free=1_000_000_000), peak=3e9))
    (future,) = room.decoded(1)
    with pytest.raises(JobFailed, match=r"takes about 3\.0 GB of memory, and 1\.0 GB are free"):
        future.result(0)
    assert room.vae.batches == []


def test_what_takes_too_long_is_given_up_and_what_is_done_by_then_stays() -> None:
    room = studio(FakeVae(Roomy("cuda", torch.float16, free=2_000_000), peak=1e6))
    room.vae.at_each = lambda: setattr(room.clock, "now", room.clock.now + 200.0)
    futures = room.decoded(3)
    assert [future.exception(0) is None for future in futures] == [True, True, False]
    with pytest.raises(JobFailed, match="2 of 3 pictures were decoded within 300 s"):
        futures[2].result(0)


def test_latents_of_other_channels_are_refused_by_name() -> None:
    assert "16 channels" in refusal(studio(), latents(1, channels=16))
    assert "taesd_decoder.safetensors decodes 4" in refusal(studio(), latents(1, channels=16))


def test_latents_of_films_are_refused_by_name() -> None:
    assert "makes films" in refusal(studio(), latents(1).unsqueeze(2))


def test_latents_of_the_embedded_engine_are_refused_by_name() -> None:
    assert "embedded" in refusal(studio(line="embedded"), latents(1))


def test_a_tiny_vae_of_another_model_with_as_many_channels_is_refused_by_name() -> None:
    room = studio(of=file("taesdxl_decoder.safetensors"), line="sd15")
    assert "decodes latents of SDXL, and these are of SD" in refusal(room, latents(1))


@pytest.mark.parametrize(
    ("name", "channels", "line", "space"),
    [
        ("taesd_decoder.safetensors", 4, "sd15", "SD"),
        ("taesdxl_decoder.safetensors", 4, "custom", "SDXL"),
        ("decoder.safetensors", 4, "sdxl", "SDXL"),
        ("decoder.safetensors", 4, "custom", "SD"),
        ("decoder.safetensors", 16, "hidream", "Flux"),
        ("taesd3_decoder.safetensors", 16, "sd3", "SD 3"),
    ],
)
def test_a_tiny_vae_is_given_the_scale_of_the_model_by_its_name_or_by_what_dreams(
    name: str, channels: int, line: str, space: str
) -> None:
    room = studio(of=file(name, channels), line=line)
    room.source.submit(latents(1, channels), PROMPT)
    room.source.work()
    assert [None if found is None else found.name for found in room.vae.spaces] == [space]


def test_the_weights_of_a_whole_vae_know_the_scale_themselves() -> None:
    room = studio(of=file("sdxl_vae.safetensors", kind=VaeKind.KL), line="sdxl")
    room.decoded(1)
    assert room.vae.spaces == [None]


def test_a_vae_that_cannot_be_loaded_fails_what_waits_and_is_not_asked_again() -> None:
    tries: list[int] = []

    def load() -> FakeVae:
        tries.append(1)
        raise DecoderUnfit("torch finds no cuda device here")

    room = studio(load=load)
    (future,) = room.decoded(1)
    with pytest.raises(JobFailed, match="no cuda device"):
        future.result(0)
    assert "no cuda device" in refusal(room, latents(1))
    assert tries == [1]


def test_more_than_it_can_do_is_refused() -> None:
    room = studio()
    for _ in range(16):
        room.source.submit(latents(1), PROMPT)
    assert "has not done" in refusal(room, latents(1))


def test_its_thread_decodes_beside_the_one_that_asks_and_ends_when_it_is_told_to() -> None:
    vae = FakeVae()
    source = LocalSource(file(), lambda: vae, line=lambda: "", patience_s=60.0, clock=Clock())  # type: ignore[arg-type, return-value]
    futures = source.submit(latents(3), PROMPT)
    assert [int(future.result(30.0)[0, 0, 0]) for future in futures] == [0, 10, 20]
    source.stop(30.0)
    assert source._thread is not None
    assert not source._thread.is_alive()
    with pytest.raises(DecoderUnfit):
        source.submit(latents(1), PROMPT)


def test_a_mistake_in_it_costs_no_more_than_its_pictures(caplog: pytest.LogCaptureFixture) -> None:
    vae = FakeVae(peak="many")  # type: ignore[arg-type]
    source = LocalSource(file(), lambda: vae, line=lambda: "", patience_s=60.0, clock=Clock())  # type: ignore[arg-type, return-value]
    with caplog.at_level(logging.ERROR):
        (future,) = source.submit(latents(1), PROMPT)
        with pytest.raises(JobFailed, match="TypeError"):
            future.result(30.0)
    source.stop(30.0)
    assert "stumbled" in caplog.text


def test_pixels_are_those_of_numpy() -> None:
    (future,) = studio().decoded(1)
    assert isinstance(future.result(0), np.ndarray)
    assert future.result(0).dtype == np.uint8
