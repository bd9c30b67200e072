"""Stills in, film out: sized, timed, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from PIL import Image

from backend.errors import ExportRefused
from backend.film.disk_guard import DiskGuard
from backend.film.formats import Format, Kind
from backend.film.places import check_place
from backend.film.stills import Fit, Size, Still, all_fitted
from backend.film.timeline import frame_count, frames, loop_fade_frames, looped
from backend.film.writers import FOLDER_FACTS, Words, writing

_LOOK_EVERY = 10
_MAX_FRAMES = 10_000_000


class Source(Protocol):
    """What a film is made of; iterating begins anew each time."""

    @property
    def seconds(self) -> float: ...

    def __iter__(self) -> Iterator[Still]: ...


@dataclass(frozen=True)
class Wishes:
    """How a film is to be.

    Attributes:
        fps: Frames a second.
        size: Width and height in pixels.
        fit: What becomes of pictures of other proportions.
        blend: Frames between two pictures are blends of both.
        loops: Its end flows into its beginning.
    """

    fps: float
    size: Size
    fit: Fit = "cover"
    blend: bool = True
    loops: bool = False


@dataclass(frozen=True)
class Made:
    """A film that was made."""

    path: Path
    frames: int
    seconds: float
    bytes: int


def export(
    source: Source,
    target: Path,
    format: Format,
    wishes: Wishes,
    words: Words,
    *,
    is_ring: bool = False,
    reserve_bytes: int = 0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Made:
    """Make a film.

    Args:
        source: Its pictures.
        target: Where it goes; what stands there is replaced when it is whole.
        format: How it is written.
        wishes: How it is to be.
        words: What it tells of itself.
        is_ring: The source leads back to its first picture by itself; else a loop is made by a cross-fade.
        reserve_bytes: What is to stay free on the disk, for the dream.
        progress: Told, after each frame, how many of how many there are.

    Raises:
        ExportRefused: It would not fit onto the disk, or has no sense.
        StorageError: The disk said no, or is nearly full; nothing is left of the film.
        DreamloopError: What the source raises.
    """
    format.check_size(wishes.size)
    count = frame_count(source.seconds, wishes.fps)
    fade = loop_fade_frames(count, wishes.fps) if wishes.loops and not is_ring else 0
    if count > _MAX_FRAMES:
        raise ExportRefused(
            f"a film of {count:,} frames: at most {_MAX_FRAMES:,}; make it shorter, or --fps less"
        )
    guard = DiskGuard(target.parent, reserve_bytes=reserve_bytes)
    guard.check(format.estimated_bytes(wishes.size, count - fade))
    film = partial(_film, source, wishes, is_ring=is_ring and wishes.loops)
    written = 0
    with writing(target, format, wishes.size, wishes.fps, words) as writer:
        for frame in looped(film, count, fade) if fade else film():
            if written % _LOOK_EVERY == 0:
                guard.look()
            writer.add(frame)
            written += 1
            progress(written, max(written, count - fade))
        if not written:
            raise ExportRefused("none of its pictures can be read any more")
    return Made(target, written, written / wishes.fps, _size_of(target))


def check_target(target: Path, format: Format, *, force: bool) -> None:
    """Whether a film may be put there; nothing is left of having tried.

    Raises:
        ExportRefused: Something stands there that is not to be replaced.
        StorageError: Nothing can be put there.
    """
    check_place(target)
    if not target.exists() and not target.is_symlink():
        return
    if not force:
        raise ExportRefused(f"{target} is there already; --force replaces it")
    if format.kind is Kind.FOLDER and not _is_our_folder(target):
        raise ExportRefused(f"{target} is no folder that an export has made, and is not replaced")
    if format.kind is not Kind.FOLDER and not target.is_file():
        raise ExportRefused(f"{target} is no file, and is not replaced")


def _film(source: Source, wishes: Wishes, *, is_ring: bool) -> Iterator[Image.Image]:
    stills = all_fitted(source, wishes.size, wishes.fit)
    return frames(_closed(stills) if is_ring else stills, wishes.fps, blend=wishes.blend)


def _closed(stills: Iterable[Still]) -> Iterator[Still]:
    """With the first one behind the last, for no time, so that the last is led to it."""
    rest = iter(stills)
    first = next(rest, None)
    if first is not None:
        yield first
        yield from rest
        yield Still(first.picture, 0.0)


def _is_our_folder(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    ours = {name for name in names if name.endswith(".png") and name[:-4].isdigit()}
    return not names or (FOLDER_FACTS in names and names == ours | {FOLDER_FACTS})


def _size_of(target: Path) -> int:
    return sum(one.stat().st_size for one in (target.iterdir() if target.is_dir() else (target,)))
