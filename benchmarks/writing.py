"""What it costs to put frames and status on disk, and whether anything grows over many frames."""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind
from backend.core.frame_shelf import FrameShelf
from backend.core.pace import Pace
from backend.core.playback import Playback
from backend.core.report import frame_status
from backend.utils.picture_check import PictureFacts
from backend.utils.status_schema import State, StatusBody
from backend.utils.status_writer import StatusWriter

FPS = 10.0
_FRAMES_MEASURED = 200
_SAMPLES = 40


@dataclass(frozen=True)
class Cost:
    """Shares of one core at 10 frames a second."""

    writing: float
    encoding: float


@dataclass(frozen=True)
class Growth:
    """Memory over a long run.

    Attributes:
        slope: Bytes of resident memory per frame over the second half, by least squares.
    """

    frames: int
    first_mb: float
    last_mb: float
    slope: float


class _Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Stage:
    """Playback and status on a folder, with a clock in the hand."""

    def __init__(self, folder: Path, keep_s: float) -> None:
        self.clock = _Clock()
        self.buffer = FrameBuffer(10**9)
        self.shelf = FrameShelf(folder, keep_s=keep_s, budget_bytes=10**9, max_pixels=10**8, clock=self.clock)
        self.shelf.open()
        self.playback = Playback(self.buffer, self.shelf, Pace(), fps=FPS, clock=self.clock)
        self.writer = StatusWriter(folder / "status.json", self._body)
        self.playback.on_shown = self.writer.publish

    def show(self, frame: Frame) -> None:
        (place,) = self.buffer.reserve([1.0 / FPS])
        self.buffer.put(place, frame)
        self.clock.now += 1.0 / FPS
        self.playback.tick(self.clock.now)

    def _body(self) -> StatusBody:
        frame = frame_status(self.playback.newest, self.shelf, datetime.now(UTC), self.clock.now)
        return StatusBody(state=State.DREAMING, frame=frame)


def cost() -> Cost:
    """CPU time of writing a frame with its status, beside that of encoding it."""
    image, frame = _picture(768, 432)
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        stage = _Stage(Path(folder), keep_s=5.0)
        start = time.process_time()
        for _ in range(_FRAMES_MEASURED):
            stage.show(frame)
        writing_s = time.process_time() - start
    start = time.process_time()
    for _ in range(_FRAMES_MEASURED):
        image.save(io.BytesIO(), "PNG", compress_level=1)
    encoding_s = time.process_time() - start
    return Cost(writing_s / _FRAMES_MEASURED * FPS, encoding_s / _FRAMES_MEASURED * FPS)


def growth(frames: int) -> Growth:
    """Show many frames and watch the memory of this process."""
    _, frame = _picture(256, 144)
    readings: list[tuple[int, int]] = []
    process = psutil.Process()
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        stage = _Stage(Path(folder), keep_s=60.0)
        for number in range(1, frames + 1):
            stage.show(frame)
            if number % (frames // _SAMPLES) == 0:
                readings.append((number, process.memory_info().rss))
    half = readings[len(readings) // 2 :]
    slope = np.polyfit([number for number, _ in half], [rss for _, rss in half], 1)[0]
    return Growth(frames, readings[0][1] / 1e6, readings[-1][1] / 1e6, float(slope))


def _picture(width: int, height: int) -> tuple[Image.Image, Frame]:
    coarse = np.random.default_rng(1).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    facts = PictureFacts(width, height, "png")
    return image, Frame(file.getvalue(), facts, FrameKind.IN_BETWEEN, "bench", 1.0 / FPS)
