"""A VAE on this machine as a source of pictures: decoded in batches, by a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.errors import DecoderUnfit, JobFailed
from backend.interpolation.latent_spaces import LatentSpace, space_named, space_of_line, usual_space
from backend.interpolation.picture_futures import UNFIT
from backend.interpolation.vae_file import VaeFile, VaeKind
from backend.utils.ladder import Ladder
from backend.utils.picture_formats import Pixels
from backend.utils.prompt_manager import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from backend.interpolation.local_vae import LocalVae

log = logging.getLogger(__name__)

# Two legs of a walk and the keyframes around them, and some to spare; more would mean that nothing comes out.
_MOST_WAITING = 16
# A CPU gains nothing by more than one (measured), and the first comes sooner.
_MOST_TOGETHER = {"cpu": 1}
_MOST_ELSEWHERE = 32
# Of the memory that is free, what decoding may take: others (the engine, above all) need some, too.
_SHARE_OF_MEMORY = 0.5
_BATCHES = tuple(0.5**halvings for halvings in range(6))
# Behind everything that is shown: a display must not stutter because the next frames are decoded.
_NICENESS = 10
_EMBEDDED = "embedded"


@dataclass(frozen=True)
class _Work:
    latents: Tensor
    space: LatentSpace | None
    pictures: Sequence[Future[Pixels]]
    deadline: float


class LocalSource:
    """A `PictureSource`. It asks for as many pictures at once as fit into memory, and less where they do not.

    Args:
        file: The weights.
        load: Loads them, on the thread that decodes.
        line: The line of model families that dreams, "" where that is not known yet.
        patience_s: Pictures that take longer are given up.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        file: VaeFile,
        load: Callable[[], LocalVae],
        *,
        line: Callable[[], str],
        patience_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._file = file
        self._load = load
        self._line = line
        self._patience_s = patience_s
        self._clock = clock
        self._batches = Ladder(_BATCHES)
        self._works: queue.Queue[_Work | None] = queue.Queue()
        self._vae: LocalVae | None = None
        self._broken: str | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def submit(self, latents: Tensor, prompt: Prompt) -> list[Future[Pixels]]:
        """See `PictureSource.submit`."""
        if self._broken is not None:
            raise DecoderUnfit(self._broken)
        space = self._space_of(latents)
        if self._stopping or self._works.qsize() >= _MOST_WAITING:
            raise DecoderUnfit("it has not done what it was asked for before")
        pictures: list[Future[Pixels]] = [Future() for _ in latents]
        self._works.put(_Work(latents.detach(), space, pictures, self._clock() + self._patience_s))
        self._start()
        return pictures

    def stop(self, timeout_s: float = 2.0) -> None:
        """Decode no more."""
        self._stopping = True
        self._works.put(None)
        if self._thread is not None:
            self._thread.join(timeout_s)

    def turn(self, work: _Work) -> None:
        """Decode what was asked for together, as many at a time as memory allows."""
        try:
            vae = self._loaded()
            done = 0
            while done < len(work.pictures):
                done += self._decode_some(vae, work, done)
        except (DecoderUnfit, JobFailed) as error:
            why = error if isinstance(error, JobFailed) else JobFailed(UNFIT, str(error))
            for picture in work.pictures:
                if not picture.done():
                    picture.set_exception(why)

    def _space_of(self, latents: Tensor) -> LatentSpace | None:
        """Whose latents they are.

        Raises:
            DecoderUnfit: Not those that this VAE decodes.
        """
        if latents.dim() != 4:
            raise DecoderUnfit(
                f"latents of shape {tuple(latents.shape[1:])} are of a model that makes films, and this VAE "
                "is for pictures"
            )
        if latents.shape[1] != self._file.channels:
            raise DecoderUnfit(
                f"the latents have {latents.shape[1]} channels, and {self._file.path.name} decodes "
                f"{self._file.channels}"
            )
        line = self._line()
        if line == _EMBEDDED:
            raise DecoderUnfit("the embedded engine's latents are its own, and no VAE decodes them")
        if self._file.kind is VaeKind.KL or self._file.scaled_by is not None:
            return None  # it knows the scale itself
        named, dreamt = space_named(self._file.path), space_of_line(line, self._file.channels)
        if named is not None and dreamt is not None and named != dreamt:
            raise DecoderUnfit(
                f"{self._file.path.name} decodes latents of {named.name}, and these are of {dreamt.name}"
            )
        return named or dreamt or usual_space(self._file.channels)

    def _loaded(self) -> LocalVae:
        from backend.interpolation.local_vae import OutOfMemory

        if self._vae is None:
            try:
                self._vae = self._load()
            except DecoderUnfit as error:
                self._broken = str(error)  # neither file nor device becomes another while we run
                raise
            except OutOfMemory as error:
                raise DecoderUnfit(f"there is no room for it: {error}") from error
            log.info(
                "in-betweens are decoded by %s on %s, in %s",
                self._file.path.name,
                self._vae.device.name,
                self._vae.device.dtype,
            )
        return self._vae

    def _decode_some(self, vae: LocalVae, work: _Work, first: int) -> int:
        """Decode the next few; how many, 0 if it was too much at once.

        Raises:
            DecoderUnfit: Even one is too much, or it cannot be done.
            JobFailed: There is no more time.
        """
        from backend.interpolation.local_vae import OutOfMemory

        now = self._clock()
        if self._stopping or now > work.deadline:
            raise JobFailed(
                UNFIT,
                f"{first} of {len(work.pictures)} pictures were decoded within {self._patience_s:.0f} s",
            )
        self._batches.rise(now)
        together = self._together(vae, work.latents)
        latents = work.latents[first : first + together]
        try:
            pixels = vae.decode(latents, work.space)
        except OutOfMemory as error:
            if together == 1 or not self._batches.down(now):
                raise DecoderUnfit(f"it runs out of memory with one picture at a time: {error}") from error
            log.warning("pictures are decoded %d at a time now: %s", self._together(vae, latents), error)
            return 0
        for picture, one in zip(work.pictures[first:], pixels, strict=False):
            picture.set_result(one.numpy())
        return len(latents)

    def _together(self, vae: LocalVae, latents: Tensor) -> int:
        """How many pictures at once.

        Raises:
            DecoderUnfit: On the CPU, where the system would end us rather than say no: not even one.
        """
        peak, free = vae.peak_bytes(latents), vae.device.free_bytes()
        if vae.device.name == "cpu" and peak > free:
            raise DecoderUnfit(
                f"one picture takes about {peak / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"
            )
        most = _MOST_TOGETHER.get(vae.device.name, _MOST_ELSEWHERE)
        fit = max(1, min(most, int(_SHARE_OF_MEMORY * free / peak)))
        return max(1, int(fit * self._batches.share))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="local-decoder", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        _give_way()
        while (work := self._works.get()) is not None and not self._stopping:
            try:
                self.turn(work)
            except Exception as error:
                log.exception("the decoder stumbled; the engine decodes instead")
                self._broken = f"{type(error).__name__}: {error}"
                for picture in work.pictures:
                    if not picture.done():
                        picture.set_exception(JobFailed(UNFIT, self._broken))


def _give_way() -> None:
    """Compute behind other threads; on Linux a priority is a thread's own, and its helpers inherit it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
