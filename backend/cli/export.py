"""``main.py export ... dream.mp4``: a film of what was dreamt."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.cli import exit_codes

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic and numpy
    from backend.config import Settings
    from backend.film.export import Made
    from backend.film.formats import Format
    from backend.film.spans import Span
    from backend.film_assembly import Footage, Material

_LAST_S = 60.0
_ENOUGH = 0.9
"""Kept frames that hold so much of what is asked for are preferred: they are what was shown."""

_NICE = 5
_TELL_EVERY_S = 10.0
_DEFAULT_FPS = {"mp4": 30.0, "webm": 30.0, "webp": 15.0}

Tell = Callable[[str], None]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser(
        "export",
        help="make a film of what was dreamt",
        description="Makes a film of what was dreamt: from the frames that are on disk still, or, where "
        "those do not reach back far enough, by painting the recorded keyframes once more, at any rate.",
    )
    parser.set_defaults(handler=run)
    parser.add_argument(
        "target", type=Path, metavar="FILM", help=".mp4, .webm, .webp; without an ending a folder of PNGs"
    )
    when = parser.add_argument_group("which part (default: the last minute)")
    when.add_argument("--last", type=_length, metavar="TIME", help="so much dream, like 90s, 10m or 1h30m")
    when.add_argument(
        "--from", dest="since", type=_moment, metavar="TIME", help="like 21:30 or 2026-01-31T21:30"
    )
    when.add_argument("--to", dest="until", type=_moment, metavar="TIME", help="the same")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--frames", action="store_true", help="only from frames on disk, as they were shown")
    source.add_argument("--render", action="store_true", help="paint the recorded keyframes once more")
    how = parser.add_argument_group("how it looks")
    how.add_argument("--fps", type=_number(0.1, 240), metavar="N", help="frames a second (30; .webp 15)")
    how.add_argument("--size", type=_size, metavar="WxH", help="in pixels (that of the pictures)")
    how.add_argument("--fit", choices=("cover", "contain"), default="cover", help="cut off, or black bars")
    how.add_argument("--loop", action="store_true", help="the end flows into the beginning")
    how.add_argument("--no-blend", action="store_true", help="no blends between pictures")
    how.add_argument(
        "--seconds-per-keyframe",
        type=_number(0.1, 3600),
        metavar="S",
        help="with --render: slower or quicker than it was dreamt",
    )
    how.add_argument(
        "--decode-fps",
        type=_number(0.1, 240),
        metavar="N",
        help="with --render: pictures painted a second, the rest are blends (as many as --fps)",
    )
    file = parser.add_argument_group("the file")
    file.add_argument("--codec", choices=("h264", "h265", "vp9", "av1"), help="(.mp4: h264, .webm: vp9)")
    file.add_argument("--crf", type=int, metavar="N", help="quality of a film; lower is better and larger")
    file.add_argument("--quality", type=_whole(1, 100), metavar="N", help="of a .webp, 1 to 100 (80)")
    file.add_argument("--force", action="store_true", help="replace what is there")
    file.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def run(args: argparse.Namespace) -> int:
    """Make the film; returns the exit status."""
    from backend.config import load_settings
    from backend.errors import DreamloopError, StorageError

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = load_settings(getattr(args, "config", None), os.environ).settings
    try:
        with contextlib.suppress(OSError):
            os.nice(_NICE)  # the dream goes first, and so does whatever we start
        made, told = _make(args, settings)
    except KeyboardInterrupt:
        print(f"stopped; {_what_is_there(args.target)}", file=sys.stderr)
        return exit_codes.INTERRUPTED
    except StorageError as error:
        print(f"{_what_is_there(args.target)}: {error}", file=sys.stderr)
        return exit_codes.STORAGE
    except DreamloopError as error:
        print(f"refused: {error}", file=sys.stderr)
        return exit_codes.REFUSED
    print(f"{made.path}: {made.frames} frames, {made.seconds:.1f} s, {made.bytes / 1e6:.1f} MB, {told}")
    return exit_codes.OK


def _what_is_there(target: Path) -> str:
    """After a film that was not made."""
    return f"{target} is as it was" if os.path.lexists(target) else f"there is no {target}"


def _make(args: argparse.Namespace, settings: Settings) -> tuple[Made, str]:
    from backend.film.export import check_target
    from backend.film.formats import format_of
    from backend.film_assembly import material_of

    format = format_of(args.target, args.codec, args.crf, args.quality)
    check_target(args.target, format, force=args.force)
    if args.size is not None:
        format.check_size(args.size)
    material = material_of(settings, _span(args))
    tell: Tell = (lambda _: None) if args.quiet else (lambda text: print(f"{text} ...", file=sys.stderr))
    with _footage(args, settings, material, _fps(args, settings, format), tell) as (footage, told):
        made = _export(args, settings, format, footage)
        missing = footage.missing()
        return made, told if not missing else f"{told}; {missing} could not be had"


@contextlib.contextmanager
def _footage(
    args: argparse.Namespace, settings: Settings, material: Material, fps: float, tell: Tell
) -> Iterator[tuple[Footage, str]]:
    """What the film is made of, and how to say it."""
    from backend.errors import ExportRefused
    from backend.film_assembly import kept_footage, rendered_footage

    if _from_frames(args, material):
        if args.seconds_per_keyframe is not None or args.decode_fps is not None:
            raise ExportRefused("--seconds-per-keyframe and --decode-fps are for --render")
        with kept_footage(settings, material.frames) as footage:
            yield footage, f"from {len(material.frames)} frames as they were shown"
        return
    with rendered_footage(
        settings,
        material,
        fps=args.decode_fps or fps,
        gap_s=args.seconds_per_keyframe,
        loops=args.loop,
        tell=tell,
    ) as footage:
        yield footage, f"from {len(material.keyframes)} keyframes, painted once more"


def _from_frames(args: argparse.Namespace, material: Material) -> bool:
    from backend.errors import ExportRefused

    if args.frames and not material.frames:
        raise ExportRefused("no frame of that part is on disk; see display.keep_seconds, or take --render")
    if args.frames or args.render:
        return bool(args.frames)
    if not material.frames and len(material.keyframes) < 2:
        raise ExportRefused("nothing of that part of the dream is kept, neither frames nor keyframes")
    wished = args.last or (_LAST_S if args.since is None and args.until is None else float("inf"))
    return material.frames_s >= _ENOUGH * min(wished, material.keyframes_s)


def _export(args: argparse.Namespace, settings: Settings, format: Format, footage: Footage) -> Made:
    from backend.film.export import Wishes, export

    size = args.size or _even(footage.size, format)
    wishes = Wishes(_fps(args, settings, format), size, args.fit, not args.no_blend, args.loop)
    with _progress(args.quiet) as progress:
        return export(
            footage.source,
            args.target,
            format,
            wishes,
            footage.words,
            is_ring=footage.is_ring,
            reserve_bytes=settings.storage.min_free,
            progress=progress,
        )


def _span(args: argparse.Namespace) -> Span:
    from backend.errors import ExportRefused
    from backend.film.spans import Span

    if args.last is not None and args.since is not None:
        raise ExportRefused("--last counts back from the end: it goes with --to, not with --from")
    since, until = (None if one is None else one.timestamp() for one in (args.since, args.until))
    nothing = args.last is None and since is None and until is None
    return Span(_LAST_S if nothing else args.last, since, until)


def _fps(args: argparse.Namespace, settings: Settings, format: Format) -> float:
    """A folder is to hold the frames themselves, which come at the rate of the display."""
    return float(args.fps or _DEFAULT_FPS.get(format.kind.value, settings.display.fps))


def _even(size: tuple[int, int], format: Format) -> tuple[int, int]:
    """A film has even sides: of an odd one a line is cut off."""
    if format.codec is None:
        return size
    return max(2, size[0] - size[0] % 2), max(2, size[1] - size[1] % 2)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, else a line now and then."""
    if quiet:
        yield lambda *_: None
    elif not sys.stderr.isatty():
        yield _Lines().told
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (BarColumn(bar_width=None), MofNCompleteColumn(), "frames,", TimeRemainingColumn(), "to go")
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


class _Lines:
    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def told(self, done: int, total: int) -> None:
        if time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            print(f"{done} of {total} frames", file=sys.stderr)


def _length(text: str) -> float:
    from backend.film.spans import parsed_length

    return float(_argument(parsed_length, text))


def _moment(text: str) -> datetime:
    from backend.film.spans import parsed_moment

    moment: datetime = _argument(lambda written: parsed_moment(written, datetime.now().astimezone()), text)
    return moment


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    wish = "WIDTHxHEIGHT in pixels, each from 16 to 8192, like 1280x720"
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wish}")
    size = int(width), int(height)
    if not all(16 <= side <= 8192 for side in size):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wish}")
    return size


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return number

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return read


def _argument(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
