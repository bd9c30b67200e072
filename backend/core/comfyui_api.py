"""**ComfyUIClient**: HTTP and one WebSocket; jobs are futures.

Two threads work for it. The listener reads the socket and hands on what it says; the settler asks the
server about jobs without news, fetches what the socket did not bring, and posts again what was lost. What
is to be done is decided by :class:`JobTracker`, which touches neither.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from backend.core.attempt import Attempt
from backend.core.comfyui_answers import HistoryEntry, QueueState, SystemStats
from backend.core.comfyui_http import AnswerLost, ComfyHttp, HttpLimits
from backend.core.comfyui_server import ComfyServer
from backend.core.comfyui_socket import SocketListener, SocketTimes
from backend.core.hearing import Connection
from backend.core.job_actions import Cancel, Patience
from backend.core.job_tracker import JobTracker
from backend.core.jobs import (
    Failed,
    FailureKind,
    FileRef,
    Finished,
    Graph,
    Interrupted,
    Job,
    JobEnd,
    Picture,
)
from backend.core.settler import Settler, tell_news
from backend.core.switchboard import Switchboard
from backend.core.wire import Wire, connect_wire
from backend.errors import EngineAnswerError, EngineError, EngineUnreachable
from backend.utils.part import Part

__all__ = [
    "ComfyUIClient",
    "Connection",
    "Failed",
    "FailureKind",
    "FileRef",
    "Finished",
    "Graph",
    "HistoryEntry",
    "HttpLimits",
    "Interrupted",
    "Job",
    "JobEnd",
    "Patience",
    "Picture",
    "QueueState",
    "SocketTimes",
    "SystemStats",
]

log = logging.getLogger(__name__)

_SOCKET_WAIT_S = 1.0


class ComfyUIClient:
    """A client of one ComfyUI server. Thread-safe.

    Only prompts of its own are ever touched: never a whole queue, never an interrupt without an id.
    """

    def __init__(
        self,
        url: str,
        limits: HttpLimits | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        times: SocketTimes | None = None,
        connect: Callable[[str, float], Wire] | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        mark: str = "",
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Does nothing yet; the server need not be there.

        Args:
            url: ``http(s)://host:port``, with the path under which a proxy serves it, if it does.
            limits: Deadlines and byte caps of HTTP calls.
            headers: Sent along with every call and with the socket's handshake, for a proxy; never shown.
            patience: When jobs are looked up, and when they are lost.
            times: Intervals of the socket.
            connect: Opens a WebSocket; for tests.
            new_id: Gives prompt ids; must be canonical lower-case UUIDs for a real server.
            mark: Nobody else's, and the same at each start: by it jobs that a killed run left are known.
            clock: Monotonic seconds.
            rng: For the jitter of reconnects.

        Raises:
            ValueError: A header cannot be sent.
        """
        limits = limits or HttpLimits()
        connect = connect or partial(connect_wire, headers=headers, max_frame_bytes=limits.max_file_bytes)
        self._clock = clock
        self._tracker = JobTracker(new_id, patience)
        self._switchboard = Switchboard(self._tracker, clock=clock)
        self._lock = self._switchboard.lock
        self._server = ComfyServer(url, ComfyHttp(limits, headers, clock=clock), self._was_reachable, mark)
        self._settler = Settler(self._server, self._tracker, self._lock, self._post, clock=clock)
        self._listener = SocketListener(
            lambda: self.url, self._switchboard, connect=connect, times=times, clock=clock, rng=rng
        )
        self._closed = False

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._server.url

    @property
    def reposts(self) -> int:
        """How many graphs had to be posted again so far."""
        return self._tracker.reposts

    @property
    def emptied_pictures(self) -> int:
        """How many empty files were left in the server's temp folder, for pictures that had to be fetched."""
        return self._settler.emptied

    @property
    def connection(self) -> Connection:
        """How we stand with the server."""
        return self._switchboard.connection

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its two threads, to be supervised."""
        return (self._listener.part, self._settler.part)

    def start(self) -> None:
        """Starts the listener and the settler, without which no job ends."""
        self._listener.start()
        self._settler.start()

    def close(self, timeout_s: float = 2.5) -> None:
        """Ends our jobs as Failed(CLOSED), takes them from the server, and stops the threads.

        ``timeout_s`` is for all of it: what a silent server keeps waiting then ends with the process.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            prompt_ids = self._tracker.close()
        tell_news(self._tracker, self._lock)
        last_words = threading.Thread(
            target=self._take_back_last, args=(prompt_ids,), name="comfyui-close", daemon=True
        )
        last_words.start()
        until = self._clock() + timeout_s
        for wait in (self._settler.close, self._listener.close, last_words.join):
            wait(max(0.0, until - self._clock()))
        self._server.close()

    def _take_back_last(self, prompt_ids: list[str]) -> None:
        try:
            self._server.take_back(prompt_ids)
        except EngineError as error:
            log.debug("our jobs stay on the server: %s", error)

    def move_to(self, url: str) -> None:
        """Goes on with a server at another address; jobs that the old one has not ended are posted there."""
        if url.rstrip("/") != self.url:
            self._server.url = url.rstrip("/")
            self._listener.kick(anew=True)

    def submit(self, graph: Graph, *, deadline_s: float, pictures: int = 0) -> Job:
        """Posts a graph.

        Args:
            graph: In API format; must not be changed afterwards.
            deadline_s: After this the job is cancelled and ends as Failed(DEADLINE).
            pictures: How many pictures its SaveImageWebsocket nodes will send.

        Raises:
            EngineUnreachable: Nobody answers; the job does not exist.
            GraphRejected: The server refuses the graph, or a part of it.
            EngineAnswerError: What answers is no ComfyUI.
        """
        self._switchboard.await_socket(self._listener.kick, _SOCKET_WAIT_S)
        with self._lock:
            if self._closed:
                raise EngineUnreachable(self.url, "the client is closed")
            now = self._clock()
            job, attempt = self._tracker.add(graph, pictures, now + deadline_s, now)
        try:
            self._post(attempt)
        except EngineError:
            with self._lock:
                self._tracker.remove(attempt)
            raise
        return job

    def cancel(self, job: Job) -> None:
        """Ends a job of ours as Interrupted, and takes it from the server, in time if it does not answer."""
        with self._lock:
            prompt_id = self._tracker.cancel(job)
        tell_news(self._tracker, self._lock)
        if prompt_id is not None:
            self._take_back(prompt_id)

    def take_back_leftovers(self) -> int:
        """Takes from the queue what an earlier run of ours, which was killed, has left there; how many.

        Raises EngineError.
        """
        marked = self._server.marked()
        with self._lock:
            left = [one for one in marked if not self._tracker.tracks(one)]
        self._server.take_back(left)
        return len(left)

    def upload(
        self, data: bytes, filename: str, *, subfolder: str = "", type: str = "temp", overwrite: bool = True
    ) -> FileRef:
        """Puts a file on the server; returns its name there, which may be another.

        Raises:
            EngineUnreachable: No answer.
            EngineAnswerError: The server refuses it.
        """
        return self._server.upload(data, FileRef(filename, subfolder, type), overwrite=overwrite)

    def download(self, ref: FileRef) -> bytes:
        """The bytes of a file on the server.

        Raises:
            EngineUnreachable: No answer.
            EngineAnswerError: No such file, or more than a file may have.
        """
        return self._server.download(ref)

    def queue(self) -> QueueState:
        """The prompts in the server's queue; raises EngineError."""
        return self._server.queue()

    def others_have_jobs(self) -> bool:
        """Whether prompts that are not ours run or wait there; raises EngineError."""
        queue = self._server.queue()
        with self._lock:
            return not all(self._tracker.tracks(one) for one in (*queue.running, *queue.pending))

    def history(self, prompt_id: str) -> HistoryEntry | None:
        """How a prompt ended; None while it has not, or if it is unknown. Raises EngineError."""
        return self._server.history(prompt_id)

    def system_stats(self) -> SystemStats:
        """What the server says of itself; raises EngineError."""
        return self._server.system_stats()

    def object_info(self, node_class: str | None = None) -> dict[str, Any]:
        """The definitions of all node classes, or of one (``{}`` if there is none); raises EngineError."""
        return self._server.object_info(node_class)

    def models(self, folder: str) -> tuple[str, ...]:
        """The models in a folder, e.g. ``checkpoints``; none if there is no folder. Raises EngineError."""
        return self._server.models(folder)

    def metadata(self, folder: str, name: str) -> Mapping[str, str]:
        """What a model file says of itself; ``{}`` where nothing is told. Raises EngineUnreachable."""
        return self._server.metadata(folder, name)

    def folder_paths(self) -> Mapping[str, tuple[Path, ...]]:
        """Where the server looks for models, on its own machine; ``{}`` where it does not tell.

        Raises EngineUnreachable.
        """
        return self._server.folder_paths()

    def files(self, kind: str) -> tuple[str, ...]:
        """File names in ``output``, ``input`` or ``temp``; none where it does not tell.

        Raises EngineUnreachable.
        """
        return self._server.files(kind)

    def free(self, *, unload_models: bool = True, free_memory: bool = False) -> None:
        """Asks the server to free memory; ``free_memory`` drops its node cache, too. Raises EngineError."""
        self._server.free(unload_models=unload_models, free_memory=free_memory)

    def forget(self, prompt_id: str) -> None:
        """Takes a prompt of ours from the server's history; raises EngineError."""
        self._server.forget([prompt_id])

    def _post(self, attempt: Attempt) -> None:
        """POST /prompt; raises EngineError unless the server has, or may have, taken it."""
        messages_before = self._switchboard.messages
        try:
            self._server.post(attempt, self._switchboard.client_id or str(uuid.uuid4()))
        except AnswerLost as error:
            log.info("the answer to a POST is lost, looking for %s: %s", attempt.prompt_id, error)
        self._switchboard.posted(messages_before)
        with self._lock:
            self._tracker.answered(attempt, self._clock())
            abandoned = not (self._tracker.holds(attempt) or attempt.over)
            self._lock.notify_all()
        if abandoned:
            self._take_back(attempt.prompt_id)

    def _take_back(self, prompt_id: str) -> None:
        try:
            self._server.take_back([prompt_id])
        except EngineAnswerError as error:
            log.warning("%s stays on the server: %s", prompt_id, error)
        except EngineUnreachable:
            with self._lock:
                self._tracker.cancel_failed(Cancel(prompt_id), self._clock())
                self._lock.notify_all()

    def _was_reachable(self, reachable: bool) -> None:
        """Every call reports whether it was answered."""
        if self._switchboard.answered(reachable):
            self._listener.kick()
