"""The dream as slerp walks it beside the dream as it is walked now: a sheet and a clip, to be looked at."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from backend.core.frame_buffer import Frame, FrameKind
from benchmarks.contact_sheet import GAP_PX, LABEL_PX
from benchmarks.flow import GAP_S, NEW, OLD, Way, frames_of

SHEET_SIZE, SHEET_FPS, SHEET_S = (384, 216), 25, 3 * GAP_S
SHEET_FRAMES, FRAME_WIDTH_PX = 6, 200
CLIP_SIZE, CLIP_FPS, CLIP_S = (320, 176), 10, 10
SKIPPED_KEYFRAMES = 5
"""The first ones of a dream are shown before anything is known of its pace."""
_GROUND, _INK, _MARK = (14, 14, 18), (196, 196, 204), (242, 180, 99)
_NAMES = {OLD: "slerp, equal steps in the latents", NEW: "smooth, equal steps for the eye"}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """A frame and when it was shown, in seconds since the first of them."""

    at: float
    pixels: Pixels
    is_keyframe: bool


def stretch_of(way: Way, size: tuple[int, int], fps: int, seconds: float) -> list[Shown]:
    """What a display showed from a keyframe on, for so long; of the same keyframes whichever way."""
    shown: list[Shown] = []
    keyframes, at = 0, 0.0
    for frame in _endless(way, size, fps):
        keyframes += frame.kind is FrameKind.KEYFRAME
        if keyframes < SKIPPED_KEYFRAMES:
            continue
        if at >= seconds:
            break
        pixels = np.asarray(Image.open(io.BytesIO(frame.data)).convert("RGB"))
        shown.append(Shown(at, pixels, frame.kind is FrameKind.KEYFRAME))
        at += frame.duration_s
    return shown


def _endless(way: Way, size: tuple[int, int], fps: int) -> Iterator[Frame]:
    return frames_of(way, 1000, size=size, fps=fps)


def sheet() -> Image.Image:
    """Some frames of each, and below them one column of the picture from moment to moment."""
    parts = [_part(way) for way in (OLD, NEW)]
    whole = Image.new("RGB", (parts[0].width, sum(part.height for part in parts) + 2 * GAP_PX), _GROUND)
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height + 2 * GAP_PX
    return whole


def _part(way: Way) -> Image.Image:
    shown = stretch_of(way, SHEET_SIZE, SHEET_FPS, SHEET_S)
    width = SHEET_FRAMES * (FRAME_WIDTH_PX + GAP_PX) - GAP_PX
    high = FRAME_WIDTH_PX * SHEET_SIZE[1] // SHEET_SIZE[0]
    part = Image.new("RGB", (width, LABEL_PX + high + GAP_PX + SHEET_SIZE[1] + LABEL_PX), _GROUND)
    pen, font = ImageDraw.Draw(part), ImageFont.load_default(12)
    pen.text((2, 2), _NAMES[way], _INK, font)
    for index in range(SHEET_FRAMES):
        pixels = at_time(shown, SHEET_S * index / SHEET_FRAMES)
        small = Image.fromarray(pixels).resize((FRAME_WIDTH_PX, high), Image.Resampling.LANCZOS)
        part.paste(small, (index * (FRAME_WIDTH_PX + GAP_PX), LABEL_PX))
    top = LABEL_PX + high + GAP_PX
    part.paste(Image.fromarray(slit(shown, width, SHEET_S)), (0, top))
    for one in shown:
        if one.is_keyframe:
            x = round(one.at / SHEET_S * width)
            pen.line((x, top + SHEET_SIZE[1], x, top + SHEET_SIZE[1] + 6), _MARK, 2)
    pen.text((8, top + SHEET_SIZE[1] + 3), "the middle column, over 12 seconds; marks: keyframes", _INK, font)
    return part


def slit(shown: Sequence[Shown], width: int, seconds: float) -> Pixels:
    """The middle column of the picture, moment by moment from left to right."""
    columns = [at_time(shown, seconds * x / width) for x in range(width)]
    middle = columns[0].shape[1] // 2
    return np.stack([pixels[:, middle] for pixels in columns], axis=1)


def at_time(shown: Sequence[Shown], seconds: float) -> Pixels:
    """What was on display, as a page shows it that blends from each frame to the next."""
    after = next((index for index, one in enumerate(shown) if one.at > seconds), len(shown) - 1)
    older, newer = shown[max(0, after - 1)], shown[after]
    share = (seconds - older.at) / (newer.at - older.at) if newer.at > older.at else 0.0
    mixed = older.pixels + min(1.0, share) * (newer.pixels.astype(np.float32) - older.pixels)
    return mixed.round().astype(np.uint8)


def clip() -> list[Image.Image]:
    """Ten seconds of both, side by side."""
    both = [stretch_of(way, CLIP_SIZE, CLIP_FPS, CLIP_S) for way in (OLD, NEW)]
    frames = []
    for index in range(CLIP_S * CLIP_FPS):
        pictures = [_on_display(shown, index / CLIP_FPS) for shown in both]
        frames.append(_side_by_side(pictures))
    return frames


def _on_display(shown: Sequence[Shown], seconds: float) -> Pixels:
    return next(one for one in reversed(shown) if one.at <= seconds + 1e-6).pixels


def _side_by_side(pictures: Sequence[Pixels]) -> Image.Image:
    width, height = CLIP_SIZE
    image = Image.new("RGB", (2 * width + GAP_PX, height + LABEL_PX), _GROUND)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for index, (pixels, way) in enumerate(zip(pictures, (OLD, NEW), strict=True)):
        left = index * (width + GAP_PX)
        image.paste(Image.fromarray(pixels), (left, 0))
        pen.text((left + 3, height + 2), _NAMES[way], _INK, font)
    return image
