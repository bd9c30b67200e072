"""What an earlier run left, and the first picture of this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backend.config import Settings
from backend.core.frame_buffer import FrameBuffer, FrameKind
from backend.core.frame_shelf import FrameShelf
from backend.core.frame_spool import FrameSpool
from backend.core.frames_ahead import Ahead, AheadReader, frames_ahead
from backend.core.pace import Pace
from backend.core.playback import Playback
from backend.core.resume_point import ResumePoint
from backend.core.resume_store import ResumeStore
from backend.core.title_frame import title_frame
from backend.utils.file_systems import network_file_system

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Past:
    """Where a run leaves what the next one goes on from.

    Attributes:
        point: What the last one left; None where it left nothing, or nothing is to be gone on from.
        note: What is worth knowing of it, and of where it lies, as sentences; empty where all is well.
    """

    store: ResumeStore
    spool: FrameSpool
    point: ResumePoint | None
    note: str = ""


def open_past(settings: Settings, scarce: Callable[[], bool] = lambda: False) -> Past:
    """Read what the last run left; ``scarce`` tells whether the disk has room for little."""
    store = ResumeStore(settings.storage.output)
    point = store.load() if settings.dream.resume == "always" else None
    note = " ".join([store.note, *_doubts_about(settings)]).strip()
    return Past(store, FrameSpool(settings.storage.output, scarce), point, note)


def _doubts_about(settings: Settings) -> Iterator[str]:
    """Folders that can be used, but where something better would be wiser."""
    for key in ("output", "status"):
        folder = getattr(settings.storage, key)
        kind = network_file_system(folder)
        if kind is not None:
            doubt = (
                f"storage.{key} = {folder} is on {kind}, a network file system: displays elsewhere may see "
                "changes late, and a server that does not answer stops the picture; a local disk is better."
            )
            log.warning("%s", doubt)
            yield doubt


def begin_display(
    past: Past,
    shelf: FrameShelf,
    buffer: FrameBuffer,
    pace: Pace,
    playback: Playback,
    *,
    size: tuple[int, int],
    max_pixels: int,
) -> Ahead:
    """Have a picture from the first moment, before any engine is looked for, and the motion go on from it.

    The picture is the one that is on display still, else the last keyframe of the earlier run, else a title.

    Returns:
        The frames that lay ready; they are in the buffer.

    Raises:
        StorageError: If the output folder cannot be used.
    """
    left_over, point = shelf.open(), past.point
    ahead = Ahead()
    if point is not None:
        themes = {record.number: record.theme for record in point.tail}
        on_display = None if left_over is None else left_over.path
        leads_on = left_over is not None and left_over.kind is FrameKind.CROSS_FADE
        ahead = frames_ahead(past.spool.left(), on_display, themes, leads_on=leads_on)
        AheadReader(buffer, themes, max_pixels).read(ahead.frames)
        buffer.begin_at(point.end_place)
        pace.go_on(point.interval_s, buffer.promised_s)
    here = None if ahead.here is None else ahead.here.path
    past.spool.begin(here, {frame.path for frame in ahead.frames})
    if left_over is not None:
        if ahead.here is not None and ahead.joined:
            playback.continue_from(left_over, ahead.left_s, ahead.here.joint)
        else:
            playback.continue_from(left_over)
        return ahead
    picture = None if point is None else past.store.file(point.keyframe.picture)
    if picture is None:
        playback.show_at_once(title_frame(*size, "falling asleep"), FrameKind.TITLE)
    else:
        playback.show_at_once(picture, FrameKind.KEYFRAME)
    return ahead
