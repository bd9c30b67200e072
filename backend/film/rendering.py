"""A film from recorded keyframes: the dream is walked once more, as finely as is wished, and decoded anew."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.errors import JobFailed
from backend.film.recording import Joint, Recording
from backend.film.stills import Still, opened
from backend.interpolation.decoder import Decoder, LatentBatch, PicturesJob
from backend.interpolation.timetable import ease
from backend.interpolation.walk import Walk
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_ATTEMPTS = 4
_WAIT_S = 0.5


class Manners(Protocol):
    """How we behave at a decoder that others use, too."""

    def may_send(self, under_way: int) -> bool:
        """Whether another job may be sent while so many of ours are under way; with none, in the end, yes."""
        ...

    def ended(self, seconds: float) -> None:
        """A job of ours took so long."""
        ...


@dataclass(frozen=True, eq=False)  # latents have no equality to speak of
class _Batch:
    """Latents that are decoded together, and how long each picture lasts."""

    latents: Tensor
    prompt: Prompt
    each_s: float
    attempts: int = 0

    def __len__(self) -> int:
        return len(self.latents)

    def parts(self) -> tuple[_Batch, ...]:
        """What to send after it failed: in two where it can be, since less may be possible."""
        again = replace(self, attempts=self.attempts + 1)
        middle = len(self) // 2
        if middle == 0 or self.attempts == 0:
            return (again,)
        return replace(again, latents=self.latents[:middle]), replace(again, latents=self.latents[middle:])


@dataclass(frozen=True, eq=False)
class _Sent:
    batch: _Batch
    job: PicturesJob
    at: float


class Rendering:
    """The pictures of a film from recorded keyframes.

    Args:
        recording: The keyframes.
        decoder: Turns latents into pictures.
        fps: Pictures for each second of a walk.
        path: A key of PATHS: how a walk leads from keyframe to keyframe.
        pacing: uniform, eased or perceptual: how fast it goes where, if it is not known how it went.
        frames_per_job: How many latents travel together at the most.
        manners: When another job may be sent.
        words: The words that travel with a job, given a keyframe's own; they change no picture.
        max_pixels: Larger pictures are refused.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        recording: Recording,
        decoder: Decoder,
        *,
        fps: float,
        path: str,
        pacing: str,
        frames_per_job: int,
        manners: Manners,
        words: Callable[[Prompt], Prompt] = lambda own: own,
        max_pixels: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recording = recording
        self._decoder = decoder
        self._fps = fps
        self._path = path
        self._pacing = pacing
        self._frames_per_job = frames_per_job
        self._manners = manners
        self._words = words
        self._max_pixels = max_pixels
        self._clock = clock

    @property
    def seconds(self) -> float:
        """How long the film will be."""
        return self._recording.seconds + self._end_s

    def shorten(self, seconds: float) -> None:
        """Begin so late that it is no longer than this; a ring is whole or none, and stays as it is."""
        if not self._recording.loops:
            self._recording.shorten(seconds - self._end_s)

    @property
    def pictures(self) -> int:
        """How many pictures will be decoded."""
        return sum(self._steps(joint) for joint in self._recording.joints) + (self._end_s > 0.0)

    def first(self, place: int) -> Still:
        """The picture of one keyframe; raises what iterating raises."""
        keyframe = self._recording.keyframes[place]
        batch = _Batch(self._recording.latent(place), keyframe.prompt, keyframe.gap_s)
        return next(self._decoded([batch]))

    def __iter__(self) -> Iterator[Still]:
        """The pictures in order.

        Raises:
            EngineError: The decoder does not do it, though it was asked again.
            PictureRejected: What it made is no picture.
            StorageError, LatentRejected: A keyframe is gone or broken.
        """
        return self._decoded(self._batches())

    @property
    def _end_s(self) -> float:
        """How long the last keyframe stands, which leads nowhere."""
        if self._recording.loops:
            return 0.0
        last = self._recording.keyframes[-1]
        return 1.0 / self._fps if last.told.walks else last.gap_s

    def _steps(self, joint: Joint) -> int:
        return max(1, round(joint.shown_s * self._fps)) if joint.walks else 1

    def _batches(self) -> Iterator[_Batch]:
        for joint in self._recording.joints:
            yield from self._batches_of(joint)
        if self._end_s > 0.0:
            last = len(self._recording.keyframes) - 1
            prompt = self._recording.keyframes[last].prompt
            yield _Batch(self._recording.latent(last), prompt, self._end_s)

    def _batches_of(self, joint: Joint) -> Iterator[_Batch]:
        """The older keyframe, and what lies between it and the newer one."""
        steps, prompt = self._steps(joint), self._recording.keyframes[joint.end].prompt
        each_s = joint.shown_s / steps
        if not joint.walks:
            yield _Batch(self._recording.latent(joint.start), prompt, each_s)
            return
        walk = self._recording.walk(joint, self._path)
        moments = joint.begin + (1.0 - joint.begin) * np.arange(steps) / steps
        t = _followed(joint.course, moments) if joint.course else self._paced(walk, moments)
        for first in range(0, steps, self._frames_per_job):
            yield _Batch(walk.latents(t[first : first + self._frames_per_job]), prompt, each_s)

    def _paced(self, walk: Walk, moments: NDArray[np.float64]) -> Tensor:
        """Where on a walk each frame lies; equal turns are the best guess at equal steps for the eye."""
        places = [ease(moment) for moment in moments] if self._pacing == "eased" else moments.tolist()
        return walk.at(places, by_turn=self._pacing != "uniform")

    def _decoded(self, batches: Iterable[_Batch]) -> Iterator[Still]:
        """In order, with as many jobs under way as is polite."""
        waiting, under_way = iter(batches), deque[_Sent]()
        batch = next(waiting, None)
        while batch is not None or under_way:
            while batch is not None and self._manners.may_send(len(under_way)):
                under_way.append(self._sent(batch))
                batch = next(waiting, None)
            sent = under_way.popleft()
            try:
                pictures = self._pictures(sent)
            except JobFailed as error:
                under_way.extendleft(reversed([self._sent(part) for part in self._again(sent.batch, error)]))
                continue
            yield from (Still(opened(data, self._max_pixels), sent.batch.each_s) for data in pictures)

    def _sent(self, batch: _Batch) -> _Sent:
        job = self._decoder.decode(LatentBatch(batch.latents, self._words(batch.prompt)))
        return _Sent(batch, job, self._clock())

    def _pictures(self, sent: _Sent) -> tuple[bytes, ...]:
        """What a job brings, waited for; it ends by its own deadline."""
        ended = threading.Event()
        sent.job.add_done_callback(ended.set)
        while not ended.wait(_WAIT_S):  # in steps, so that Ctrl-C is heard
            pass
        pictures = sent.job.pictures()
        self._manners.ended(self._clock() - sent.at)
        return pictures

    def _again(self, batch: _Batch, error: JobFailed) -> tuple[_Batch, ...]:
        if batch.attempts + 1 >= _ATTEMPTS:
            raise error
        log.info("%d pictures are asked for again: %s", len(batch), error)
        return batch.parts()


def _followed(course: Sequence[tuple[float, float]], moments: NDArray[np.float64]) -> Tensor:
    """Where on a walk each frame lies, where the dream took this course."""
    import torch

    known, ways = zip((0.0, 0.0), *course, (1.0, 1.0), strict=True)
    return torch.from_numpy(np.interp(moments, known, ways)).float()
