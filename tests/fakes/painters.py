"""Painters for tests: small and quick, but with real pictures."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from backend.engine.painting import LATENT_SCALE, Conditioning, Latent, OnStep, Pixels, Window


class NumpyPainter:
    """Paints what a latent says, cell by cell: smooth enough to look at, the same every time.

    The text's hash and the seed choose a field of noise; sampling walks from the latent toward it.
    """

    def text(self, text: str) -> Conditioning:
        return zlib.crc32(text.encode())

    def blend(self, parts: Sequence[tuple[Conditioning, float]]) -> Conditioning:
        return zlib.crc32(repr(list(parts)).encode())

    def sample(
        self,
        latent: Latent,
        positive: Conditioning,
        negative: Conditioning,
        *,
        seed: int,
        steps: int,
        cfg: float,
        denoise: float,
        on_step: OnStep,
    ) -> Latent:
        rng = np.random.default_rng([seed, positive, negative, int(cfg * 100)])
        target = rng.standard_normal(latent.shape, dtype=np.float32)
        moved = latent
        for step in range(1, steps + 1):
            angle = denoise * step / steps * np.pi / 2
            moved = latent * np.float32(np.cos(angle)) + target * np.float32(np.sin(angle))
            on_step(step, steps, moved)
        return moved

    def decode(self, latent: Latent) -> Iterator[Pixels]:
        for one in latent:
            rgb = one[:3] * 48.0 + 128.0 + one[3] * 16.0
            small = np.clip(rgb, 0, 255).astype(np.uint8).transpose(1, 2, 0)
            yield np.ascontiguousarray(small.repeat(LATENT_SCALE, axis=0).repeat(LATENT_SCALE, axis=1))

    def decode_window(self, latent: Latent, window: Window) -> Pixels:
        (whole,) = self.decode(latent)
        return np.ascontiguousarray(whole[window.rows, window.columns])

    def encode(self, picture: Pixels) -> Latent:
        small = picture[LATENT_SCALE // 2 :: LATENT_SCALE, LATENT_SCALE // 2 :: LATENT_SCALE].astype(
            np.float32
        )
        latent = np.zeros((1, 4, *small.shape[:2]), np.float32)
        latent[0, :3] = (small.transpose(2, 0, 1) - 128.0) / 48.0
        return latent


class PacedPainter(NumpyPainter):
    """Holds the worker by the clock, as a graphics card of a certain speed would, and hardly uses the CPU.

    Args:
        keyframe_s: Seconds that one sampling takes, whatever its steps.
        decode_s: Seconds that the decoding of one latent takes.
    """

    def __init__(
        self,
        *,
        keyframe_s: float = 0.4,
        decode_s: float = 0.012,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._keyframe_s = keyframe_s
        self._decode_s = decode_s
        self._clock = clock
        self._sleep = sleep
        self._painted = 0
        self._prebuilt: dict[tuple[int, int], list[Pixels]] = {}

    def sample(
        self,
        latent: Latent,
        positive: Conditioning,
        negative: Conditioning,
        *,
        seed: int,
        steps: int,
        cfg: float,
        denoise: float,
        on_step: OnStep,
    ) -> Latent:
        began_s = self._clock()

        def paced(done: int, total: int, moved: Latent) -> None:
            self._hold_until(began_s + self._keyframe_s * done / total)
            on_step(done, total, moved)

        return super().sample(
            latent, positive, negative, seed=seed, steps=steps, cfg=cfg, denoise=denoise, on_step=paced
        )

    def decode(self, latent: Latent) -> Iterator[Pixels]:
        pictures = self._pictures(latent.shape[2] * LATENT_SCALE, latent.shape[3] * LATENT_SCALE)
        due_s = self._clock()
        for _ in latent:
            due_s += self._decode_s
            self._hold_until(due_s)
            self._painted += 1
            yield pictures[self._painted % len(pictures)]

    def _pictures(self, height: int, width: int) -> list[Pixels]:
        """Sixteen pictures that compress quickly and differ from each other."""
        if (height, width) not in self._prebuilt:
            base = np.zeros((height, width, 3), np.uint8)
            base[..., 0] = np.linspace(20, 220, width).astype(np.uint8)
            base[..., 1] = np.linspace(20, 220, height).astype(np.uint8)[:, None]
            self._prebuilt[height, width] = [base + np.array([0, 0, 15 * n], np.uint8) for n in range(16)]
        return self._prebuilt[height, width]

    def _hold_until(self, due_s: float) -> None:
        left_s = due_s - self._clock()
        if left_s > 0:
            self._sleep(left_s)
