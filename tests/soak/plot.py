"""The soak as a picture: memory, files and disk over time, with what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from tests.soak.gauges import Sample

_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP = 760, 110, 60, 20, 34
_COLOURS = ("#5fb3d9", "#f2b463", "#9bd18b")
_DIM, _FRAME, _TEXT, _END = "#8a929c", "#242a31", "#c8ced6", "#c25b5b"

Curves = Mapping[str, Callable[[Sample], float]]

PANELS: tuple[tuple[str, Curves], ...] = (
    ("memory of the daemon, MB", {"daemon": lambda s: s.daemon_mb}),
    ("memory of its children, MB", {"engine": lambda s: s.engine_mb, "pages": lambda s: s.pages_mb}),
    ("the daemon's open files and threads", {"files": lambda s: s.files, "threads": lambda s: s.threads}),
    ("disk, MB", {"dreamloop": lambda s: s.disk_mb, "engine": lambda s: s.engine_disk_mb}),
    ("frames shown, thousands", {"sequence": lambda s: s.frame / 1000}),
)


def plot(samples: Sequence[Sample], deeds: Sequence[tuple[float, str, bool]], title: str, path: Path) -> None:
    """Draws it.

    Args:
        samples: Oldest first.
        deeds: What happened: when in seconds, its name, whether the daemon's life ended by it.
        title: What is said above.
        path: Where the PNG goes.
    """
    image = Image.new("RGB", (_WIDTH, _TOP + len(PANELS) * (_PANEL + 34) + 24), "#101418")
    pen = ImageDraw.Draw(image)
    pen.text((_LEFT, 10), title, fill=_TEXT)
    end_s = max(samples[-1].at_s, 1.0)
    for row, (name, curves) in enumerate(PANELS):
        _panel(pen, _TOP + row * (_PANEL + 34), name, curves, samples, deeds, end_s)
    bottom = _TOP + len(PANELS) * (_PANEL + 34)
    step = max(1, round(end_s / 60 / 10))
    for minute in range(0, int(end_s / 60) + 1, step):
        pen.text((_x(minute * 60, end_s) - 6, bottom - 14), str(minute), fill=_DIM)
    told = "minutes, each an hour of dream; grey: something happened, red: the daemon was killed or stopped"
    pen.text((_LEFT, bottom + 4), told, fill=_TEXT)
    image.quantize(64).save(path, optimize=True)


def _x(at_s: float, end_s: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at_s / end_s


def _range(ascending: Sequence[float]) -> tuple[float, float]:
    """From nothing to the most; where all but starts lies closely together, only there."""
    usual, most = ascending[len(ascending) // 5], ascending[-1]
    return (usual * 0.99 if usual > 0.8 * most > 100.0 else 0.0), most * 1.002 or 1.0


def _panel(
    pen: ImageDraw.ImageDraw,
    top: int,
    name: str,
    curves: Curves,
    samples: Sequence[Sample],
    deeds: Sequence[tuple[float, str, bool]],
    end_s: float,
) -> None:
    lower, upper = _range(sorted(curve(one) for curve in curves.values() for one in samples))
    base = top + 16 + _PANEL
    for at_s, _, ends_life in deeds:
        pen.line((_x(at_s, end_s), base, _x(at_s, end_s), top + 16), fill=_END if ends_life else _FRAME)
    for share in (0.0, 0.5, 1.0):
        y = base - _PANEL * share
        pen.line((_LEFT, y, _WIDTH - _RIGHT, y), fill=_FRAME)
        pen.text((8, y - 6), f"{lower + (upper - lower) * share:.4g}", fill=_DIM)
    pen.text((_LEFT, top), name, fill=_TEXT)
    for at, ((label, curve), colour) in enumerate(zip(curves.items(), _COLOURS, strict=False)):
        pen.text((_LEFT + 330 + 110 * at, top), label, fill=colour)
        line: list[tuple[float, float]] = []
        for one, following in zip(samples, [*samples[1:], None], strict=True):
            line.append((_x(one.at_s, end_s), base - _PANEL * max(0.0, curve(one) - lower) / (upper - lower)))
            if following is None or following.life != one.life:  # lives are curves of their own
                if len(line) > 1:
                    pen.line(line, fill=colour, width=2)
                line = []
