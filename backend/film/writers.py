"""Films on disk. A writer takes frames of one size in order; ``finish`` makes the file whole."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from backend.errors import ExportRefused, StorageError
from backend.film.formats import CODECS, Format, Kind
from backend.film.stills import Size
from backend.film.webp_animation import WebpAnimation
from backend.utils.file_ops import whole_or_nothing

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

FOLDER_FACTS = "film.json"
"""Beside the PNGs of a folder: rate, size, and what the film tells of itself."""

_MAX_DENOMINATOR = 60_060
_PNG_COMPRESSION = 4


@dataclass(frozen=True)
class Words:
    """What a film tells of itself.

    Attributes:
        created: UTC, ISO 8601: when the dream began that it shows.
    """

    title: str
    comment: str
    created: str


class Writer(Protocol):
    """Takes the frames of a film."""

    def add(self, frame: Image.Image) -> None:
        """Append a frame, RGB; raises OSError where the disk does not take it."""
        ...

    def finish(self) -> None:
        """All frames are there; raises OSError where the disk does not take it."""
        ...

    def close(self) -> None:
        """Let go of everything; a film that was not finished is none."""
        ...


@contextlib.contextmanager
def writing(target: Path, format: Format, size: Size, fps: float, words: Words) -> Iterator[Writer]:
    """A writer for ``target``, which is there when the block has ended well, and else untouched.

    Args:
        target: The film; one that stands there is replaced.
        format: How it is written.
        size: Width and height of all its frames in pixels.
        fps: Frames a second.
        words: What it tells of itself.

    Raises:
        StorageError: The disk said no; what the block raises otherwise goes through.
    """
    with whole_or_nothing(target, folder=format.kind is Kind.FOLDER) as temporary:
        try:
            with contextlib.closing(_writer(temporary, format, size, fps, words)) as writer:
                yield writer
                writer.finish()
        except OSError as error:
            raise StorageError(target, error) from error


def _writer(path: Path, format: Format, size: Size, fps: float, words: Words) -> Writer:
    if format.kind is Kind.FOLDER:
        return PngFolder(path, size, fps, words)
    if format.kind is Kind.WEBP:
        return WebpAnimation(path, size, fps, format.quality, title=words.title, comment=words.comment)
    return Movie(path, format, size, fps, words)


class Movie:
    """A film by FFmpeg: 4:2:0, BT.709; an MP4 has its index in front, so that players can begin at once."""

    def __init__(self, path: Path, format: Format, size: Size, fps: float, words: Words) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        os.environ.setdefault("SVT_LOG", "1")  # errors only: its encoder prints a page about itself
        codec = CODECS[format.codec or ""]
        options = {"movflags": "+faststart"} if format.kind is Kind.MP4 else {}
        # FFmpeg takes what stands before a colon for a protocol, unless the path begins at the root.
        place = str(path.absolute())
        self._container: OutputContainer = av.open(place, "w", format=format.kind.value, options=options)
        said = {"title": words.title, "comment": words.comment, "creation_time": words.created}
        self._container.metadata.update({key: value for key, value in said.items() if value})
        rate = Fraction(str(fps)).limit_denominator(_MAX_DENOMINATOR)
        chosen = {**codec.options, "crf": str(format.quality)}
        stream = self._container.add_stream(format.encoder or "", rate=rate, options=chosen)
        self._stream: VideoStream = stream  # type: ignore[assignment]
        context = self._stream.codec_context
        context.width, context.height = size
        context.pix_fmt = "yuv420p"
        context.thread_type = "AUTO"
        _tag_colours(context)
        if codec.tag is not None and format.kind is Kind.MP4:
            context.codec_tag = codec.tag
        self._reformatter = VideoReformatter()
        self._count = 0

    def add(self, frame: Image.Image) -> None:
        """Encode a frame."""
        import av
        from av.video.reformatter import ColorRange, Colorspace

        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.asarray(frame), "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts, picture.time_base = self._count, 1 / self._stream.codec_context.framerate
        self._count += 1
        with _refusals():
            self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Encode what the encoder holds back, and write the index."""
        with _refusals():
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def close(self) -> None:
        """Let go of the encoder, whatever the disk says."""
        with contextlib.suppress(OSError, ValueError):
            self._container.close()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What an encoder cannot do is told; what a disk refuses is an OSError already."""
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise ExportRefused(
            f"it cannot be encoded like that: {error}; try another --codec or --size"
        ) from error


def _tag_colours(context: object) -> None:
    """Say what the numbers mean, or players guess by the size of the picture."""
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

    for name, value in (
        ("colorspace", Colorspace.ITU709),
        ("color_range", ColorRange.MPEG),
        ("color_primaries", ColorPrimaries.BT709),
        ("color_trc", ColorTrc.BT709),
    ):
        setattr(context, name, value)


class PngFolder:
    """``000001.png``, ``000002.png``, ..., and ``film.json``."""

    def __init__(self, folder: Path, size: Size, fps: float, words: Words) -> None:
        self._folder = folder
        self._facts = {"fps": fps, "width": size[0], "height": size[1], **vars(words)}
        self._count = 0

    def add(self, frame: Image.Image) -> None:
        """Write a frame."""
        self._count += 1
        frame.save(self._folder / f"{self._count:06d}.png", "PNG", compress_level=_PNG_COMPRESSION)

    def finish(self) -> None:
        """Say what the pictures are."""
        facts = json.dumps({**self._facts, "frames": self._count}, ensure_ascii=False, indent=2)
        (self._folder / FOLDER_FACTS).write_text(facts + "\n", "utf-8", "replace")

    def close(self) -> None:
        """Nothing is open."""
