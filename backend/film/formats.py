"""Which kinds of film there are, and what suits each; the file name decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from backend.errors import ExportRefused
from backend.film.stills import Size


class Kind(StrEnum):
    """What an export becomes."""

    MP4 = "mp4"
    WEBM = "webm"
    WEBP = "webp"
    FOLDER = "folder"


@dataclass(frozen=True)
class Codec:
    """A way to encode a film.

    Attributes:
        encoders: Names of encoders, the best first; which of them are there depends on the build of FFmpeg.
        kinds: In which films it may be.
        crf: The quality by default, and the best and the worst that may be asked for.
        bits_per_pixel: About what a dream takes at that quality; an estimate, rather low.
        options: For its encoders, beside the quality.
    """

    encoders: tuple[str, ...]
    kinds: tuple[Kind, ...]
    crf: tuple[int, int, int]
    bits_per_pixel: float
    options: Mapping[str, str] = field(default_factory=dict)
    tag: str | None = None


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "h264": Codec(("libx264",), (Kind.MP4,), (18, 0, 51), 0.05, {"preset": "medium"}),
        "h265": Codec(
            ("libx265",), (Kind.MP4,), (22, 0, 51), 0.03, {"x265-params": "log-level=error"}, "hvc1"
        ),
        "vp9": Codec(
            ("libvpx-vp9",),
            (Kind.WEBM, Kind.MP4),
            (30, 0, 63),
            0.03,
            {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
        ),
        "av1": Codec(("libsvtav1", "libaom-av1"), (Kind.WEBM, Kind.MP4), (30, 0, 63), 0.02, {"preset": "8"}),
    }
)

DEFAULT_CODECS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {Kind.MP4: ("h264", "av1", "vp9"), Kind.WEBM: ("vp9", "av1")}
)
"""The first that this machine can encode."""

WEBP_QUALITY = 80
_WEBP_SIDE = 16383
_STILL_BITS_PER_PIXEL = {Kind.WEBP: 0.3, Kind.FOLDER: 6.0}


@dataclass(frozen=True)
class Format:
    """How an export is written.

    Attributes:
        codec: A key of CODECS; None for pictures.
        encoder: The encoder that is used for it.
        quality: The codec's CRF (lower is better), or WebP's quality (higher is better).
    """

    kind: Kind
    codec: str | None
    encoder: str | None
    quality: int

    def check_size(self, size: Size) -> None:
        """Raises ExportRefused where this format cannot have pictures of a size."""
        if self.codec is not None and (size[0] % 2 or size[1] % 2):
            even = f"{size[0] - size[0] % 2}x{size[1] - size[1] % 2}"
            raise ExportRefused(f"--size {size[0]}x{size[1]}: the sides of a film must be even, like {even}")
        if self.kind is Kind.WEBP and max(size) > _WEBP_SIDE:
            raise ExportRefused(f"a side of {max(size)} pixels: a WebP has at most {_WEBP_SIDE}")

    def estimated_bytes(self, size: Size, count: int) -> int:
        """About what ``count`` frames will take at the least."""
        bits = CODECS[self.codec].bits_per_pixel if self.codec else _STILL_BITS_PER_PIXEL[self.kind]
        return int(size[0] * size[1] * count * bits / 8)


def kind_of(target: Path) -> Kind:
    """By the ending of the name; a name without one is a folder.

    Raises:
        ExportRefused: An ending that we cannot write, or nothing but an ending.
    """
    if target.name.startswith(".") and target.name.strip(".") and not target.suffix:
        raise ExportRefused(
            f"{target.name} has nothing before the dot: call a film dream.mp4, a folder of PNGs dream"
        )
    ending = target.suffix.lower().removeprefix(".")
    if ending in (Kind.MP4, Kind.WEBM, Kind.WEBP):
        return Kind(ending)
    if not ending or target.is_dir():
        return Kind.FOLDER
    raise ExportRefused(
        f"{target.name}: a film ends in .mp4, .webm or .webp; a name without an ending is a folder of PNGs"
    )


def format_of(
    target: Path, codec: str | None = None, crf: int | None = None, quality: int | None = None
) -> Format:
    """What is to be written to ``target``.

    Args:
        target: The film.
        codec: A key of CODECS; None for the best.
        crf: Constant quality of a codec; None for a good one.
        quality: 1 to 100, for WebP; None for a good one.

    Raises:
        ExportRefused: What does not go together, or cannot be encoded on this machine.
    """
    kind = kind_of(target)
    films = kind in DEFAULT_CODECS
    if quality is not None and kind is not Kind.WEBP:
        raise ExportRefused(
            "--quality is for .webp; the quality of a film is --crf"
            if films
            else "--quality is for .webp; PNGs lose nothing"
        )
    if not films:
        if codec is not None or crf is not None:
            raise ExportRefused("--codec and --crf are for .mp4 and .webm")
        return Format(kind, None, None, WEBP_QUALITY if quality is None else quality)
    name, encoder = _codec_for(kind, codec)
    default, best, worst = CODECS[name].crf
    if crf is not None and not best <= crf <= worst:
        raise ExportRefused(f"--crf {crf}: for {name} it is from {best} (best) to {worst} (smallest)")
    return Format(kind, name, encoder, default if crf is None else crf)


def _codec_for(kind: Kind, wished: str | None) -> tuple[str, str]:
    if wished is not None and kind not in CODECS[wished].kinds:
        fitting = ", ".join(name for name, codec in CODECS.items() if kind in codec.kinds)
        raise ExportRefused(f"--codec {wished}: a .{kind} can have {fitting}")
    names = DEFAULT_CODECS[kind] if wished is None else (wished,)
    for name in names:
        for encoder in CODECS[name].encoders:
            if _can_encode(encoder):
                return name, encoder
    raise ExportRefused(f"this machine's FFmpeg cannot encode {' or '.join(names)}; try another kind of film")


def _can_encode(encoder: str) -> bool:
    from av.codec import Codec as AvCodec
    from av.codec.codec import UnknownCodecError

    try:
        AvCodec(encoder, "w")
    except UnknownCodecError:
        return False
    return True
