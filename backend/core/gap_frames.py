"""One gap between two keyframes, as a list of frames, and what is known of each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from backend.core.frame_buffer import Frame
from backend.core.generator import Keyframe
from backend.interpolation.looks import Look, Step, difference
from backend.interpolation.timetable import Timetable
from backend.interpolation.walk import Walk, Waypoint

# Stretches in which the length of a usual gap is measured, however many frames it has.
STRETCHES = 5


@dataclass(eq=False)
class Shot:
    """An in-between.

    Attributes:
        share: How far the walk has turned there, 0 to 1.
        way: Where on the walk that is, 0 to 1, once it was asked for.
        place: In the buffer, once it has one.
        frame: What arrived before there was a place for it.
        look: What it looks like, once it has arrived.
        lost: It will not come.
    """

    share: float
    way: float | None = None
    place: int | None = None
    frame: Frame | None = None
    look: Look | None = None
    lost: bool = False

    @property
    def settled(self) -> bool:
        """Whether nothing is to be waited for."""
        return self.lost or self.look is not None


@dataclass(eq=False)
class Gap:
    """The way from one keyframe to the next.

    Attributes:
        previous: None where there was none: the gap is its keyframe alone.
        ends: Both keyframes in the latent; None where no walk leads from the one to the other.
        seconds: Of dream.
        timetable: None until it is decided.
        turns: Whether its walk turns much farther (`gap_length.FAR`) than the dream does by itself.
        gently: Whether it is a turn, or follows on one.
        every: Of so many frames that the display shows, one is decoded.
        stretches: In which its length is measured: as many more as it is longer.
        measured: Whether its length was told.
        place: Of the keyframe in the buffer.
        before_place: Of the keyframe before.
    """

    previous: Keyframe | None
    keyframe: Keyframe
    ends: tuple[Waypoint, Waypoint] | None
    seconds: float
    turns: bool = False
    gently: bool = False
    walk: Walk | None = None
    timetable: Timetable | None = None
    shots: list[Shot] = field(default_factory=list)
    looks: tuple[Look, Look] | None = None
    every: int = 1
    stretches: int = STRETCHES
    measured: bool = False
    place: int | None = None
    before_place: int | None = None

    @property
    def placed(self) -> bool:
        """Whether its frames have their places in the buffer."""
        return self.place is not None

    @property
    def settled(self) -> bool:
        """Whether no frame is to be waited for."""
        return all(shot.settled for shot in self.shots)

    def seen(self) -> list[Shot]:
        """The in-betweens that have arrived."""
        return [shot for shot in self.shots if shot.look is not None]

    def steps(self) -> list[Step]:
        """How far apart neighbours look, from the keyframe before to this one, among those that were seen."""
        if self.looks is None:
            return []
        row = [self.looks[0], *(shot.look for shot in self.shots if shot.look is not None), self.looks[1]]
        return [difference(one, other) for one, other in itertools.pairwise(row)]

    def straight(self) -> list[Step]:
        """The steps over its stretches, from keyframe to keyframe; empty where they are not known."""
        seen = self.seen()
        if self.looks is None or len(seen) + 1 < self.stretches:
            return []
        places = [round(step * (len(seen) + 1) / self.stretches) - 1 for step in range(1, self.stretches)]
        row = [self.looks[0], *(seen[place].look for place in places), self.looks[1]]
        looks = [look for look in row if look is not None]
        return [difference(one, other) for one, other in itertools.pairwise(looks)]

    def take_shots(self, timetable: Timetable) -> None:
        """Have a shot for each place of a timetable; those that are there stay."""
        there = {shot.share: shot for shot in self.shots if not shot.lost}
        self.timetable = timetable
        self.shots = [there.get(share) or Shot(share) for share in timetable.places]

    def assign(self, places: Sequence[int]) -> None:
        """Give all frames their places in the buffer; the last is the keyframe's."""
        for shot, place in zip(self.shots, places[:-1], strict=True):
            shot.place = place
        self.place = places[-1]
