"""What crosses the client's boundary: files on the server, pictures, the ways a job ends, and the job itself.

A :class:`Job` is a future: it ends exactly once, as :class:`Finished`, :class:`Failed` or
:class:`Interrupted`, and whoever asks later gets the same end.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

log = logging.getLogger(__name__)

Graph: TypeAlias = Mapping[str, Mapping[str, Any]]
"""An API-format graph: node id -> ``{"class_type": str, "inputs": {...}}``. Never changed once built."""


@dataclass(frozen=True)
class FileRef:
    """A file in one of the server's folders (``type`` is ``output``, ``input`` or ``temp``)."""

    filename: str
    subfolder: str = ""
    type: str = "output"

    @property
    def annotated(self) -> str:
        """The form that LoadImage and LoadLatent take: ``sub/x.latent [output]``."""
        path = f"{self.subfolder}/{self.filename}" if self.subfolder else self.filename
        return f"{path} [{self.type}]"


def parse_annotated(name: str) -> FileRef:
    """The file that ``FileRef.annotated`` has named."""
    path, _, type_ = name.rpartition(" [")
    subfolder, _, filename = path.rpartition("/")
    return FileRef(filename, subfolder, type_.removesuffix("]"))


@dataclass(frozen=True)
class Picture:
    """An encoded picture as the server made it.

    Attributes:
        data: The file's bytes, never decoded here.
        format: ``png``, ``jpeg`` or ``webp``.
        node_id: The node that sent it, where the server says so.
    """

    data: bytes = field(repr=False)
    format: str
    node_id: str | None = None


class FailureKind(Enum):
    """Why a job failed."""

    EXECUTION = "execution"
    """A node raised an error."""
    OUT_OF_MEMORY = "out_of_memory"
    """A node raised an error that speaks of memory."""
    DEVICE = "device"
    """A node raised an error of the graphics device; after most of them nothing works until a restart."""
    LOST = "lost"
    """The server knows nothing of it any more, twice over (it was restarted, or others cleared its queue)."""
    DEADLINE = "deadline"
    """It had not ended in time, showed no progress, or waited behind one that hangs; it was cancelled."""
    WAITED = "waited"
    """It had not begun by its deadline: the server was busy with other jobs. It was taken back."""
    NO_PICTURES = "no_pictures"
    """It succeeded, but its pictures could not be had, however often it was posted again."""
    UNREACHABLE = "unreachable"
    """Its deadline passed while the server did not answer."""
    REJECTED = "rejected"
    """The server took it once but refused it when it had to be posted again."""
    CLOSED = "closed"
    """The client was closed first."""


@dataclass(frozen=True)
class Finished:
    """A job that succeeded, with everything it was to bring.

    Attributes:
        prompt_id: The id under which it ended (jobs that are posted again get a new one).
        pictures: The pictures of its SaveImageWebsocket nodes, in batch order.
        files: Node id -> what that node saved on the server.
        executed: Ids of the nodes that really ran; the others were cached.
        engine_s: Seconds from the start to the end of the execution by the server's clock.
    """

    prompt_id: str
    pictures: tuple[Picture, ...]
    files: Mapping[str, tuple[FileRef, ...]]
    executed: tuple[str, ...]
    engine_s: float


@dataclass(frozen=True)
class Failed:
    """A job that failed, and the node where it did if the server told."""

    prompt_id: str
    kind: FailureKind
    message: str
    node_id: str | None = None
    node_type: str | None = None


@dataclass(frozen=True)
class Interrupted:
    """A job that we cancelled, or that others interrupted more often than it was tried again."""

    prompt_id: str


JobEnd: TypeAlias = Finished | Failed | Interrupted


class Job:
    """The handle of one submitted graph. Thread-safe.

    Its pictures can be had one by one as they arrive, each once, before it ends; its end has them all.
    """

    def __init__(self, prompt_id: str) -> None:
        self.prompt_id = prompt_id
        """The newest id; it changes when the job has to be posted again."""
        self.started = False
        """Whether the server was seen to work on it."""
        self.progress = 0.0
        """0 to 1, of the node that is running."""
        self._end: JobEnd | None = None
        self._ended = threading.Condition()
        self._callbacks: list[Callable[[Job], object]] = []
        self._arrived: deque[tuple[int, Picture]] = deque()
        self._delivered: set[int] = set()
        self._arrival_callbacks: list[Callable[[Job], object]] = []

    def done(self) -> bool:
        """Whether it has ended."""
        return self._end is not None

    def result(self, timeout_s: float | None = None) -> JobEnd:
        """Waits for the end, which comes by the job's deadline at the latest.

        Raises:
            TimeoutError: It had not ended after ``timeout_s``.
        """
        with self._ended:
            if not self._ended.wait_for(self.done, timeout_s):
                raise TimeoutError(f"job {self.prompt_id} has not ended after {timeout_s} s")
            assert self._end is not None  # noqa: S101 - for the type checker: done() has just said so
            return self._end

    def add_done_callback(self, callback: Callable[[Job], object]) -> None:
        """Calls ``callback(job)`` once when the job ends, or at once if it has.

        It may be called in the thread that reads the socket: set a flag, put into a queue, and return.
        """
        with self._ended:
            if not self.done():
                self._callbacks.append(callback)
                return
        callback(self)

    def arrived(self) -> list[tuple[int, Picture]]:
        """The pictures that have come since the last call, each with its place in the batch."""
        with self._ended:
            arrived = list(self._arrived)
            self._arrived.clear()
        return arrived

    def add_arrival_callback(self, callback: Callable[[Job], object]) -> None:
        """Calls ``callback(job)`` whenever a picture has come; as hurried as add_done_callback() is."""
        with self._ended:
            self._arrival_callbacks.append(callback)
            waiting = bool(self._arrived)
        if waiting:
            callback(self)

    def deliver(self, frame: int, picture: Picture) -> None:
        """A picture has come; one whose place is taken came before, from an earlier posting."""
        with self._ended:
            if frame in self._delivered:
                return
            self._delivered.add(frame)
            self._arrived.append((frame, picture))
            callbacks = list(self._arrival_callbacks)
        for callback in callbacks:
            self._call(callback)

    def end(self, end: JobEnd) -> bool:
        """Ends the job; only the first end counts, for any other False is returned."""
        with self._ended:
            if self.done():
                return False
            self._end = end
            callbacks, self._callbacks = self._callbacks, []
            self._ended.notify_all()
        for callback in callbacks:
            self._call(callback)
        return True

    def _call(self, callback: Callable[[Job], object]) -> None:
        try:
            callback(self)
        except Exception:  # a listener's mistake must not stop the client's threads
            log.exception("a callback of job %s failed", self.prompt_id)
