"""Large pictures by tiles: the same pixels, in the memory of one tile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backend.engine.node_type import Graph
from backend.engine.painter import DreamPainter
from backend.engine.painting import Latent, Pixels, Window
from backend.engine.stock_nodes import CHECKPOINT
from backend.engine.tiling import paint_tiled, tiles
from tests.engine.test_executor import Bench
from tests.engine.test_painter import PROMPTS, sampled
from tests.fakes.fake_comfy import txt2img
from tests.fakes.painters import NumpyPainter

WIDE_PX, HIGH_PX = 4096, 2304
REPOSITORY = Path(__file__).resolve().parents[2]

MEASURE = """
from pathlib import Path
import numpy as np
from backend.engine.painter import DreamPainter
from backend.engine.tiling import paint_tiled

def peak_mb():
    # Not ru_maxrss, which a child on Linux takes over from its parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10

painter = DreamPainter()
words, nothing = painter.text("veils of emerald light in a midnight blue sky"), painter.text("")
dials = dict(seed=1, steps=1, cfg=7.0, denoise=1.0, on_step=lambda *_: None)
def latent_of(height, width):
    return painter.sample(np.zeros((1, 4, height, width), np.float32), words, nothing, **dials)
next(painter.decode(latent_of(32, 32)))
latent = latent_of({high}, {wide})
before = peak_mb()
(picture,) = paint_tiled(painter, latent, 512, lambda *_: None)
painter.encode(picture)
print(picture.nbytes / 2**20, peak_mb() - before)
"""


@pytest.fixture(scope="module")
def painter() -> DreamPainter:
    return DreamPainter()


def latent_of(painter: DreamPainter, text: str, height_px: int, width_px: int) -> Latent:
    return sampled(painter, text, latent=np.zeros((1, 4, height_px // 8, width_px // 8), np.float32))


def test_tiles_cover_a_picture_once_and_are_never_tiny() -> None:
    seen = np.zeros((600, 1000), np.uint8)
    for window in tiles(600, 1000, 64):
        seen[window.rows, window.columns] += 1
    assert (seen == 1).all()
    assert len(tiles(600, 1000, 64)) == 12
    assert tiles(96, 64, 512) == [Window(0, 96, 0, 64)]


@pytest.mark.parametrize("text", PROMPTS)
def test_a_picture_in_tiles_is_the_whole_picture(painter: DreamPainter, text: str) -> None:
    latent = latent_of(painter, text, 400, 712)
    (whole,) = painter.decode(latent)
    (tiled,) = paint_tiled(painter, latent, 256, lambda *_: None)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.long
def test_a_strip_of_a_4k_still_is_the_same_tiled_and_whole(painter: DreamPainter) -> None:
    latent = latent_of(painter, PROMPTS[0], HIGH_PX, WIDE_PX)
    (whole,) = painter.decode(latent)
    (tiled,) = paint_tiled(painter, latent, 512, lambda *_: None)
    strip = slice(HIGH_PX // 2 - 100, HIGH_PX // 2 + 100)
    assert np.abs(whole[strip].astype(int) - tiled[strip]).max() <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to see the peak of a process")
@pytest.mark.parametrize(
    ("high_px", "wide_px", "most_mb"),
    [(1152, 2048, 200), pytest.param(HIGH_PX, WIDE_PX, 400, marks=pytest.mark.long)],
)
def test_a_large_still_needs_the_memory_of_its_tiles_and_not_of_its_size(
    high_px: int, wide_px: int, most_mb: int
) -> None:
    script = MEASURE.format(high=high_px // 8, wide=wide_px // 8)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    own_mb, more_mb = map(float, done.stdout.split())
    assert own_mb == pytest.approx(3 * high_px * wide_px / 2**20)
    assert more_mb < most_mb


def test_tiles_are_counted_over_the_batch(painter: DreamPainter) -> None:
    told: list[tuple[int, int]] = []
    latent = np.zeros((2, 4, 48, 48), np.float32)
    pictures = list(paint_tiled(painter, latent, 256, lambda *step: told.append(step)))
    assert len(pictures) == 2
    assert told == [(done, 8) for done in range(1, 9)]


class Counting(NumpyPainter):
    """Counts its windows, and calls ``after`` behind each."""

    def __init__(self, after: Callable[[], None] = lambda: None) -> None:
        self.windows = 0
        self._after = after

    def decode_window(self, latent: Latent, window: Window) -> Pixels:
        self.windows += 1
        self._after()
        return super().decode_window(latent, window)


def still(width_px: int, height_px: int) -> Graph:
    return txt2img(CHECKPOINT, size_px=(width_px, height_px))


def test_a_large_picture_is_painted_in_tiles_though_nobody_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.workspace.painter = painter = Counting()
    assert bench.run(still(1920, 1080), "7")[0].success
    assert painter.windows == 0
    assert bench.run(still(2048, 1152), "7")[0].success
    assert painter.windows == 4


def test_an_interrupt_is_noticed_between_two_tiles(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.workspace.painter = painter = Counting(bench.stop.set)
    outcome, _ = bench.run(still(2048, 1152), "7")
    assert outcome.messages[-1][0] == "execution_interrupted"
    assert painter.windows == 1
