"""What was heard of one posting of a graph. A job has one if all goes well; each has its own id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.core.comfyui_answers import HistoryEntry
from backend.core.comfyui_messages import (
    Event,
    Executed,
    Executing,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    PictureArrived,
    Progress,
    seconds_between,
)
from backend.core.jobs import FileRef, Finished, Graph, Picture
from backend.core.node_pack import FRAMES, KEEP
from backend.core.steps import Steps

SENDER = "SaveImageWebsocket"
STREAMER = FRAMES
PREVIEWER = "PreviewImage"
SAVERS = frozenset({"SaveLatent", "SaveImage", PREVIEWER, KEEP})
_OUTPUTS = SAVERS | {SENDER, STREAMER}


@dataclass
class Attempt:
    """One posting, and what came of it.

    Attributes:
        graph: As the caller gave it.
        expected: How many pictures are to come from its SaveImageWebsocket nodes, or from our own one that
            streams frames.
        connection: The socket it was posted for; None where none was listening. The pictures are then left
            in the server's temp folder: SaveImageWebsocket nodes are posted as PreviewImage.
        answered: Whether the POST has been answered, or is known to have been given up.
        heard_at: When the socket last spoke of it.
        asked_at: When /history was last asked.
        queue_asked_at: When /queue was last asked.
        missed_at: When it was first found neither in the history nor in the queue; None once it was found.
        over: The socket said that the prompt has ended.
        steps: Those of the node that is running; None until the server works on it.
        pictures: Those in hand by their place in the batch; streamed ones of an earlier posting are kept, and
            only the others are asked for.
        fresh: What has come since it was last looked at.
    """

    prompt_id: str
    graph: Graph
    expected: int
    connection: int | None
    heard_at: float
    answered: bool = False
    asked_at: float = float("-inf")
    queue_asked_at: float = float("-inf")
    missed_at: float | None = None
    started: bool = False
    succeeded: bool = False
    interrupted: bool = False
    over: bool = False
    error: ExecutionError | None = None
    node: str | None = None
    progress: float = 0.0
    engine_s: float = 0.0
    steps: Steps | None = None
    executed: list[str] = field(default_factory=list)
    pictures: dict[int, Picture] = field(default_factory=dict)
    fresh: list[tuple[int, Picture]] = field(default_factory=list)
    files: dict[str, tuple[FileRef, ...]] = field(default_factory=dict)
    _started_ms: float | None = None

    @property
    def by_preview(self) -> bool:
        """Whether its pictures are to be fetched instead of heard."""
        return self.connection is None

    @property
    def senders(self) -> frozenset[str]:
        """Ids of the nodes whose pictures we are after, all of a batch one after the other."""
        return self._of_class(SENDER)

    @property
    def streamers(self) -> frozenset[str]:
        """Ids of our own nodes whose pictures we are after, each with its number."""
        return self._of_class(STREAMER)

    @property
    def missing(self) -> tuple[int, ...]:
        """The places of the pictures that are yet to come."""
        return tuple(place for place in range(self.expected) if place not in self.pictures)

    def carried_over(self) -> dict[int, Picture]:
        """What need not be asked for again, should the graph be posted again."""
        return dict(self.pictures) if self.streamers else {}

    @property
    def previews(self) -> tuple[tuple[str, FileRef], ...]:
        """The files that stand for pictures, with their nodes, in batch order."""
        if not self.by_preview:
            return ()
        nodes = sorted(self.senders | self.streamers)
        return tuple((node, file) for node in nodes for file in self.files.get(node, ()))

    @property
    def whole(self) -> bool:
        """Whether everything that a success is to bring is in hand."""
        savers = (node for node, spec in self.graph.items() if spec["class_type"] in SAVERS)
        return self.has_pictures and all(node in self.files for node in savers)

    @property
    def has_pictures(self) -> bool:
        """Whether all pictures are in hand."""
        return len(self.pictures) >= self.expected

    def posted_graph(self) -> Graph:
        """The graph as it goes to the server."""
        changed: dict[str, Mapping[str, Any]] = {}
        if self.by_preview:
            changed = {node: {**self.graph[node], "class_type": PREVIEWER} for node in self.senders}
        wishes = {"to": "temp"} if self.by_preview else {}
        if self.pictures:
            wishes["frames"] = ", ".join(map(str, self.missing))
        for node in self.streamers if wishes else ():
            spec = self.graph[node]
            changed[node] = {**spec, "inputs": {**spec["inputs"], **wishes}}
        return {**self.graph, **changed} if changed else self.graph

    @property
    def running(self) -> bool:
        """Whether the server works on it, as far as the socket told."""
        ended = self.over or self.succeeded or self.interrupted or self.error is not None
        return self.steps is not None and not ended

    @property
    def node_type(self) -> str | None:
        """The class of the node that is running."""
        node = self.graph.get(self.node or "")
        return None if node is None else str(node["class_type"])

    @property
    def at_work(self) -> str:
        """What the server works on, for people."""
        return "a job" if self.node_type is None else f"node {self.node} ({self.node_type})"

    def hear(self, event: Event, now: float) -> float | None:
        """Takes in an event that names this prompt; the seconds of the step that it ended, if it did."""
        # Whatever names a prompt tells that the server works on it, should the first word of it be lost.
        self.heard_at, self.started = now, True
        self.steps = self.steps or Steps(now)
        match event:
            case ExecutionStart():
                self._started_ms = event.timestamp_ms
            case Executing(node=None):
                self.over = True
            case Executing(node=str() as node):
                self.node, self.progress = node, 0.0
                self.steps = Steps(now)
                self._ran(node)
            case Progress():
                share = event.value / event.maximum if event.maximum > 0 else 0.0
                self.progress = min(1.0, max(0.0, share))
                return self._step(event, now)
            case Executed():
                self.files[event.node] = event.files
            case PictureArrived():
                self._picture(event)
            case ExecutionSuccess():
                self.succeeded = True
                self._stop(event.timestamp_ms)
            case ExecutionError():
                self.error = event
            case ExecutionInterrupted():
                self.interrupted = True
            case _:
                pass
        return None

    def read(self, entry: HistoryEntry) -> None:
        """Takes in a success in the history, which knows the files but not the pictures."""
        self.succeeded = True
        self.engine_s = entry.engine_s
        self.files.update(entry.files)
        if not self.executed:
            self.executed = [node for node in self._needed() if node not in entry.cached]

    def finish(self) -> Finished:
        """The end of a success."""
        hidden = self.senders | self.streamers
        files = {node: files for node, files in self.files.items() if node not in hidden}
        pictures = tuple(self.pictures[place] for place in sorted(self.pictures))
        return Finished(self.prompt_id, pictures, files, tuple(self.executed), self.engine_s)

    def take(self, place: int, picture: Picture) -> None:
        """A picture is in hand; one that came before stays."""
        if place not in self.pictures:
            self.pictures[place] = picture
            self.fresh.append((place, picture))

    def _of_class(self, class_type: str) -> frozenset[str]:
        return frozenset(node for node, spec in self.graph.items() if spec["class_type"] == class_type)

    def _step(self, event: Progress, now: float) -> float | None:
        if self.steps is None or event.node not in (None, self.node):
            return None
        return self.steps.step(event.value, event.maximum, now)

    def _ran(self, node: str) -> None:
        if node in self.graph and node not in self.executed:
            self.executed.append(node)

    def _picture(self, event: PictureArrived) -> None:
        # Latent previews of a sampler come the same way; only these nodes' pictures are ours.
        node = self.node if event.node_id is None else event.node_id
        named = event.node_id is not None
        is_sent = node in self.senders and (named or event.format == "png")
        if self.has_pictures or not (is_sent or node in self.streamers):
            return
        # A server that does not name pictures does not number them, and sends them in their order.
        place = self.missing[0] if is_sent or event.frame is None else event.frame
        if 0 <= place < self.expected:
            self.take(place, Picture(event.data, event.format, node))

    def _stop(self, timestamp_ms: float | None) -> None:
        self.engine_s = seconds_between(self._started_ms, timestamp_ms) or self.engine_s

    def _needed(self) -> list[str]:
        """The nodes that an output hangs on, which are those that run unless they are cached."""
        outputs = [n for n, spec in self.graph.items() if spec["class_type"] in _OUTPUTS]
        needed: set[str] = set()
        while outputs:
            node = outputs.pop()
            if node not in needed and node in self.graph:
                needed.add(node)
                links = self.graph[node]["inputs"].values()
                outputs.extend(str(link[0]) for link in links if isinstance(link, list) and len(link) == 2)
        return [node for node in self.graph if node in needed]
