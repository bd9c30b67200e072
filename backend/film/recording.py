"""The recorded keyframes of a film: which can be used, how they join, and their latents when needed."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from backend.errors import LatentRejected, StorageError
from backend.film.keyframe_files import KeyframeFile, Told, read_keyframe, read_told
from backend.interpolation.gap_length import stretch
from backend.interpolation.latent_size import resized
from backend.interpolation.spherical_lerp import angle_between
from backend.interpolation.walk import Knot, Walk, Waypoint
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_LATENTS_KEPT = 8
_LATEST = 0.999
"""Of a gap; something of a film is left, however short it is to be."""
_TURNS = 12
"""So many of the newest turns tell how far a dream usually turns."""


@dataclass(frozen=True)
class Recorded:
    """A keyframe of a film.

    Attributes:
        shape: Of its latent, ``[1, C, h, w]`` or ``[1, C, 1, h, w]``.
        gap_s: Seconds of film that lead up to it.
    """

    file: KeyframeFile
    told: Told
    shape: tuple[int, ...]
    gap_s: float

    @property
    def prompt(self) -> Prompt:
        """Its words."""
        return Prompt(self.told.theme, self.told.prompt, self.told.negative)


@dataclass(frozen=True)
class Joint:
    """How one keyframe of a film leads to the next.

    Attributes:
        start: Place of the older one.
        end: Place of the newer one; 0 where a film closes its ring.
        seconds: From one to the other.
        walks: Whether the way leads through their latents; else the one stands, and gives way to the other.
        course: Where on the walk the dream was when, as shares of both; empty where that is not known.
        begin: The share of the seconds that is over where the film begins.
    """

    start: int
    end: int
    seconds: float
    walks: bool
    course: tuple[tuple[float, float], ...] = ()
    begin: float = 0.0

    @property
    def shown_s(self) -> float:
        """How much of it is in the film."""
        return self.seconds * (1.0 - self.begin)


def usable(
    files: Sequence[KeyframeFile], family: str | None, gap_s: float | None = None
) -> tuple[list[Recorded], int]:
    """The keyframes that a decoder understands.

    Args:
        files: Recorded keyframes, oldest first.
        family: The line of models whose latents it understands; None for that of the newest keyframe.
        gap_s: Stretches or shortens every gap to so many seconds; None leaves them as they were dreamt.

    Returns:
        Those, and how many others there are.
    """
    found: list[Recorded] = []
    for file in files:
        try:
            told, shape = read_told(file.path)
        except (StorageError, LatentRejected) as error:
            log.warning("a recorded keyframe is left out: %s", error)
            continue
        found.append(Recorded(file, told, shape, file.gap_s if gap_s is None else gap_s))
    if family is None and found:
        family = found[-1].told.family
    fitting = [one for one in found if one.told.family == family]
    return fitting, len(files) - len(fitting)


class Recording:
    """The keyframes of a film, in order.

    Args:
        keyframes: At least one.
        loops: The last one leads back to the first.
        fade_s: How long one gives way to another where nothing leads from one to the other.
    """

    def __init__(self, keyframes: Sequence[Recorded], *, loops: bool, fade_s: float) -> None:
        self.keyframes = tuple(keyframes)
        self.loops = loops and len(self.keyframes) > 1
        self._fade_s = fade_s
        self._latents: OrderedDict[int, Tensor] = OrderedDict()
        self.joints = tuple(self._joints())
        """From keyframe to keyframe; in a ring from the last to the first, too."""

    @property
    def seconds(self) -> float:
        """From the first keyframe, or where the film begins, to the last, or in a ring back to the first."""
        return sum(joint.shown_s for joint in self.joints)

    def shorten(self, seconds: float) -> None:
        """Begin so late that no more than these are left, though it be between two keyframes."""
        excess_s = self.seconds - seconds
        joints = list(self.joints)
        while len(joints) > 1 and excess_s >= joints[0].seconds:
            excess_s -= joints.pop(0).seconds
        if excess_s > 0.0:
            joints[0] = replace(joints[0], begin=min(excess_s / joints[0].seconds, _LATEST))
        self.joints = tuple(joints)

    def _joints(self) -> Iterator[Joint]:
        for end in range(1, len(self.keyframes)):
            yield self._joint(end - 1, end, self.keyframes[end].gap_s, self.keyframes[end].told.walks)
        if self.loops:
            yield self._closing()

    def _closing(self) -> Joint:
        """From the last back to the first; if that is far, it takes its time."""
        last, usual_s = len(self.keyframes) - 1, median(one.gap_s for one in self.keyframes)
        walks = any(one.told.walks for one in self.keyframes)
        joint = self._joint(last, 0, usual_s, walks)
        if not joint.walks:
            return joint
        turns = [self._angle(end - 1, end) for end in range(1, last + 1)[-_TURNS:]]
        return replace(joint, seconds=usual_s * stretch(self._angle(last, 0), median(turns)))

    def _angle(self, start: int, end: int) -> float:
        """Radians between two keyframes; 0 where they cannot be compared."""
        try:
            one, other = self.latent(start), self.latent(end)
            return angle_between(resized(one, other), other)
        except (LatentRejected, StorageError):
            return 0.0

    def latent(self, place: int) -> Tensor:
        """The latent of a keyframe, float32.

        Raises:
            StorageError: Its file is gone: the dream goes on, and forgets.
            LatentRejected: It is broken.
        """
        known = self._latents.get(place)
        if known is None:
            known = self._latents[place] = read_keyframe(self.keyframes[place].file.path)[0]
            while len(self._latents) > _LATENTS_KEPT:
                self._latents.popitem(last=False)
        return known

    def walk(self, joint: Joint, path: str) -> Walk:
        """From one keyframe to the next, as a dream walks that knows the keyframes on both sides of each.

        Args:
            joint: One that walks.
            path: A key of PATHS.

        Raises:
            StorageError, LatentRejected: As :meth:`latent`.
        """
        joints, place = self.joints, self.joints.index(joint)
        earlier, later = (self._neighbour(joints, place, step) for step in (-1, 1))
        start, end = Waypoint(self.latent(joint.start)), Waypoint(self.latent(joint.end))
        before = None if earlier is None else Waypoint(self.latent(earlier.start))
        after = None if later is None else Waypoint(self.latent(later.end))
        first = Knot(start, before, end, joint.seconds if earlier is None else earlier.seconds, joint.seconds)
        last = Knot(end, start, after, joint.seconds, joint.seconds if later is None else later.seconds)
        return Walk.between(path, first, last, joint.seconds)

    def _neighbour(self, joints: Sequence[Joint], place: int, step: int) -> Joint | None:
        """The walk before or after one, if there is any."""
        other = place + step
        if self.loops:
            other %= len(joints)
        joint = joints[other] if 0 <= other < len(joints) and other != place else None
        return joint if joint is not None and joint.walks else None

    def largest(self) -> int:
        """The place of a keyframe whose latent is the largest."""
        cells = [one.shape[-1] * one.shape[-2] for one in self.keyframes]
        return cells.index(max(cells))

    def _joint(self, start: int, end: int, gap_s: float, walks: bool) -> Joint:
        older, newer = self.keyframes[start], self.keyframes[end]
        follows = older.file.sequence == newer.file.sequence - 1
        if walks and older.shape[:-2] == newer.shape[:-2]:
            return Joint(start, end, gap_s, walks=True, course=newer.file.course if follows else ())
        if follows and newer.file.was_shown and newer.gap_s == newer.file.gap_s:
            return Joint(start, end, newer.gap_s, walks=False)
        # A still stood for its gap; where a walk broke off, the next one begins as soon as may be.
        return Joint(start, end, self._fade_s if older.told.walks else older.gap_s, walks=False)
