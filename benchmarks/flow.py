"""How the dream moves: kinks at keyframes, and how even its steps are, beside slerp with uniform pacing.

The real loop in virtual time on the painter; the frames are looked at in the order and for the time that a
display is given them.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.config import settings_from
from backend.core.frame_buffer import Frame, FrameKind
from backend.core.generator import Keyframe
from benchmarks.judges import colour, oklab, structure
from benchmarks.painted_engine import PaintedEngine, Painting, PaintingDecoder
from benchmarks.virtual_dream import VirtualClock, loop_of

if TYPE_CHECKING:
    from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
SIZE = (256, 144)
FPS, GAP_S = 10, 4
THEME_KEYFRAMES = 10
# The first gaps of a dream are shown before anything is known of the next ones.
_LEFT_OUT_KEYFRAMES = 3
# Velocities are told of the masses of light, as averages over squares: what is smaller flickers by itself.
_CELL_PX = 8
_PIXELS = NDArray[np.uint8]


@dataclass(frozen=True)
class Way:
    """How the dream walks."""

    path: str
    pacing: str


OLD, NEW = Way("slerp", "uniform"), Way("smooth", "perceptual")


@dataclass
class Motion:
    """What was seen, step by step.

    Attributes:
        themes: Of each step, the number of the theme.
        shown_s: How long each frame was shown before the step to the next.
        colour: Each step as one judge sees it.
        structure: As the other does.
        kinks: At each keyframe, the jump of the velocity, in a small picture.
        bends: The same at all other frames.
        speeds: The speed there.
        gaps_s: How long each gap took.
    """

    themes: list[int] = field(default_factory=list)
    shown_s: list[float] = field(default_factory=list)
    colour: list[float] = field(default_factory=list)
    structure: list[float] = field(default_factory=list)
    kinks: list[float] = field(default_factory=list)
    bends: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)

    def uneven(self, judge: str, *, by_time: bool, over_all: bool = False) -> float:
        """Coefficient of variation of the steps, or of the steps per second that they were shown.

        Args:
            judge: ``colour`` or ``structure``.
            by_time: Whether it is of the steps per second.
            over_all: Of all themes together; else within each, as a mean: judges do not agree on how far
                steps in a dark and in a bright theme look.
        """
        steps, themes = np.array(getattr(self, judge)), np.array(self.themes)
        if by_time:
            steps = steps / np.array(self.shown_s)
        groups = [steps] if over_all else [steps[themes == theme] for theme in np.unique(themes)]
        return float(
            np.average([group.std() / group.mean() for group in groups], weights=[*map(len, groups)])
        )

    @property
    def kink(self) -> float:
        """Mean jump of the velocity at a keyframe, as a share of the speed."""
        return float(np.mean(self.kinks) / np.mean(self.speeds))

    @property
    def bend(self) -> float:
        """Mean jump of the velocity elsewhere, as a share of the speed."""
        return float(np.mean(self.bends) / np.mean(self.speeds))


@dataclass(frozen=True)
class _Seen:
    pixels: _PIXELS
    small: NDArray[np.float32]
    shown_s: float
    is_keyframe: bool


def frames_of(way: Way, keyframes: int, *, size: tuple[int, int] = SIZE, fps: int = FPS) -> Iterator[Frame]:
    """The frames of a dream as a display takes them, endlessly many keyframes from theme to theme."""
    with tempfile.TemporaryDirectory(prefix="dreamloop-bench-") as folder:
        settings = settings_from(
            json.dumps(_tree(way, size, fps)).encode(), Path(folder) / "c.yaml", {}
        ).settings
        painting, clock = Painting(size), VirtualClock()
        loop = loop_of(settings, PaintedEngine(painting), PaintingDecoder(painting), clock)
        controller, buffer = loop.controller, loop.buffer

        def note(_keyframe: Keyframe, _latent: Tensor | None) -> None:
            if controller.keyframes % THEME_KEYFRAMES == 0:
                controller.next_theme()

        controller.on_keyframe = note
        while controller.keyframes < keyframes:
            if controller.turn():
                continue
            frame = buffer.take(clock.now)
            clock.now += frame.duration_s if frame is not None else 0.1
            if frame is not None:
                yield frame


def _tree(way: Way, size: tuple[int, int], fps: int) -> dict[str, object]:
    never_s = 86_400
    return {
        "dream": {"size": "{}x{}".format(*size), "seed": 1, "seconds_per_keyframe": GAP_S},
        "interpolation": {"path": way.path, "pacing": way.pacing},
        "display": {"fps": fps},
        "prompts": {
            "folder": str(ROOT / "prompts"),
            "order": "sequential",
            "seconds_per_prompt": never_s,
            "seconds_per_theme": never_s,
        },
    }


def watch(
    way: Way,
    gaps: int,
    told: Callable[[str], object] = lambda _: None,
    *,
    size: tuple[int, int] = SIZE,
    fps: int = FPS,
) -> Motion:
    """Look at so many gaps, each frame beside its neighbours."""
    motion, last, gap_s, keyframes = Motion(), list[_Seen](), 0.0, 0
    for frame in frames_of(way, 10**6, size=size, fps=fps):
        last = [*last[-2:], _seen(frame)]
        keyframes += last[-1].is_keyframe
        gap_s += frame.duration_s
        if keyframes <= _LEFT_OUT_KEYFRAMES or len(last) < 3:
            gap_s = 0.0
            continue
        motion.themes.append((keyframes - 1) // THEME_KEYFRAMES)
        _note(motion, *last)
        if last[-1].is_keyframe:
            motion.gaps_s.append(gap_s)
            gap_s = 0.0
            told(f"{len(motion.gaps_s)} of {gaps}")
            if len(motion.gaps_s) == gaps:
                break
    return motion


def _seen(frame: Frame) -> _Seen:
    pixels = np.asarray(Image.open(io.BytesIO(frame.data)).convert("RGB"))
    height, width = pixels.shape[0] // _CELL_PX, pixels.shape[1] // _CELL_PX
    small = oklab(pixels).reshape(height, _CELL_PX, width, _CELL_PX, 3).mean((1, 3))
    return _Seen(pixels, small, frame.duration_s, frame.kind is FrameKind.KEYFRAME)


def _note(motion: Motion, before: _Seen, here: _Seen, after: _Seen) -> None:
    motion.shown_s.append(before.shown_s)
    motion.colour.append(colour(before.pixels, here.pixels))
    motion.structure.append(structure(before.pixels, here.pixels))
    coming = (here.small - before.small) / before.shown_s
    going = (after.small - here.small) / here.shown_s
    motion.speeds.append(float(np.linalg.norm(coming)))
    (motion.kinks if here.is_keyframe else motion.bends).append(float(np.linalg.norm(going - coming)))


def rows(quick: bool) -> list[tuple[str, str, str]]:
    """Both ways, over the same keyframes."""
    gaps = 12 if quick else 50
    old, new = watch(OLD, gaps), watch(NEW, gaps)
    told = [
        (f"velocity's jump at a keyframe, {gaps} gaps, of the speed", f"{new.kink:.2f}", ""),
        ("    slerp", f"{old.kink:.2f}", ""),
        ("    new : slerp", f"{new.kink / old.kink:.2f}", "at most 0.33"),
        ("    between keyframes, new", f"{new.bend:.2f}", ""),
    ]
    for judge, name in (("colour", "Oklab difference"), ("structure", "1 - SSIM, root")):
        for by_time, unit in ((False, "a frame"), (True, "a second")):
            one, other = (way.uneven(judge, by_time=by_time) for way in (old, new))
            told += [
                (f"CV of steps {unit} by {name}, slerp", f"{one:.3f}", ""),
                ("    new", f"{other:.3f}", ""),
                ("    new : slerp", f"{other / one:.2f}", "at most 0.5"),
            ]
    gaps_s = np.array(new.gaps_s[1:])
    return [*told, ("seconds of a gap, mean, spread (4 set)", f"{gaps_s.mean():.2f} {gaps_s.std():.2f}", "")]
