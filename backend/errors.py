"""Everything that Dreamloop raises on purpose.

::

    DreamloopError
    ├── ConfigError             settings that cannot be used; every problem at once (exit 78)
    ├── PromptsError            themes that cannot be used
    ├── AlreadyRunning          another Dreamloop owns the output or status folder (exit 75)
    │   └── MemoryInUse         another process owns the memory (exit 75)
    ├── MemoryOff               the settings ask for a dream without a memory
    ├── NoDaemon                nobody answers at the control socket (exit 69)
    ├── StorageError            a file could not be written or read
    ├── PictureRejected         bytes that are not a picture fit to be shown
    ├── LatentRejected          bytes that are not a latent fit to dream on from
    ├── ExportRefused           a film that cannot be made as it is asked for
    ├── MatcherUnfit            a judge of pictures that cannot be had: no weights, a file that is no model
    ├── BrokerTrouble           an MQTT broker that is away, or does not let us in
    ├── DecoderUnfit            a decoder that cannot be had, or cannot decode such latents
    └── EngineError             the engine (ComfyUI or the embedded one)
        ├── EngineUnreachable   no answer: wait and try again
        │   └── EngineStarting  a process of ours that runs and does not answer yet
        ├── EngineAnswerError   an answer that makes no sense: not a ComfyUI, too large, cut off
        ├── GraphRejected       the server refused the graph (HTTP 400, or 200 with node errors)
        │   └── GraphUnfit      found before it was sent: the server lacks something that the graph needs
        ├── ModelMissing        a checkpoint that the server does not have
        └── JobFailed           a job ended as Failed or Interrupted

Whoever raises one says what was wrong, with which value, and what is wished for. Whether to retry,
skip, wait or stop is decided in one place, the DreamController.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class DreamloopError(Exception):
    """The root of the tree."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file that a person wrote.

    Attributes:
        source: The file, or the name of the environment variable.
        line: 1-based line, or None where there is none (an environment variable, a missing key).
        key: Dotted key, e.g. ``dream.denoise``.
        value: What was found, as written.
        wish: What would be right.
        column: 1-based column of the value, or None where there is none.
    """

    source: str
    line: int | None
    key: str
    value: str
    wish: str
    column: int | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        found = f" = {self.value}" if self.value else ""
        return f"{where}: {self.key}{found}: {self.wish}"


class ConfigError(DreamloopError):
    """Settings that cannot be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PromptsError(DreamloopError):
    """Themes that cannot be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class AlreadyRunning(DreamloopError):  # noqa: N818 - a state of the world, not a mistake
    """Another Dreamloop owns this folder."""

    def __init__(self, pid: int | None, folder: Path) -> None:
        self.pid = pid
        owner = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{owner} is already dreaming into {folder}; stop it, or choose another folder for "
            "storage.output and storage.status"
        )


class MemoryOff(DreamloopError):  # noqa: N818
    """The settings ask for a dream without a memory."""

    def __init__(self) -> None:
        super().__init__("the memory is switched off (memory.enabled: false)")


class MemoryInUse(AlreadyRunning):
    """Another process owns this memory."""

    def __init__(self, pid: int | None, folder: Path) -> None:
        self.pid = pid
        owner = f"process {pid}" if pid else "another process"
        DreamloopError.__init__(
            self, f"{owner} has the memory in {folder} open; a memory has one owner at a time"
        )


class NoDaemon(DreamloopError):  # noqa: N818 - a state of the world, not a mistake
    """Nobody answers at the control socket."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path = path
        super().__init__(f"no Dreamloop answers at {path}: {cause}")


class StorageError(DreamloopError):
    """A file could not be written or read.

    Attributes:
        full: There is no space left, which may change while we run.
    """

    def __init__(self, path: Path, cause: OSError) -> None:
        self.path = path
        self.errno = cause.errno
        self.full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
        super().__init__(f"{path}: {cause.strerror or cause}")


class PictureRejected(DreamloopError):  # noqa: N818
    """Bytes that are not a picture fit to be shown: broken, black, flat."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}")


class LatentRejected(DreamloopError):  # noqa: N818
    """Bytes that are not a latent fit to dream on from: broken, of a wrong shape, not finite."""


class ExportRefused(DreamloopError):  # noqa: N818
    """A film that cannot be made as it is asked for; the sentence says what would be right."""


class MatcherUnfit(DreamloopError):  # noqa: N818
    """A judge of pictures that cannot be had: weights missing, a file that is no model, no such class."""


class BrokerTrouble(DreamloopError):  # noqa: N818
    """An MQTT broker that is away, goes away, or does not let us in."""

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(f"no MQTT broker at {address}: {cause}")


class DecoderUnfit(DreamloopError):  # noqa: N818
    """A decoder that cannot be had, or cannot decode such latents: another one is to do it."""


class EngineError(DreamloopError):
    """Whatever went wrong at the engine."""


class EngineUnreachable(EngineError):  # noqa: N818
    """No answer within the deadline: wait and try again.

    Attributes:
        own: It is a process of ours that is not there, so there is no address yet.
    """

    def __init__(self, url: str, cause: str) -> None:
        self.url = url
        self.own = "://" not in url
        super().__init__(f"no answer from {url}: {cause}")


class EngineStarting(EngineUnreachable):
    """A process of ours that runs and does not answer yet."""


class EngineAnswerError(EngineError):
    """An answer that makes no sense: not a ComfyUI, too large, cut off."""

    def __init__(self, url: str, detail: str) -> None:
        self.url = url
        super().__init__(f"{url} gave an answer that Dreamloop cannot use: {detail}")


class GraphRejected(EngineError):  # noqa: N818
    """The server refused the graph.

    Attributes:
        kind: The server's ``error.type``, or ``node_errors`` for a 200 with node errors.
        details: One sentence a node error, "node 5 (KSampler) seed: Required input is missing".
    """

    def __init__(self, kind: str, message: str, details: Sequence[str] = ()) -> None:
        self.kind = kind
        self.details = tuple(details)
        super().__init__("; ".join([f"the engine refused the graph ({kind}): {message}", *self.details]))


class GraphUnfit(GraphRejected):
    """The server would refuse the graph, or there is no graph for what is wished; nothing was sent."""

    def __init__(self, details: Sequence[str]) -> None:
        self.kind = "unfit"
        self.details = tuple(details)
        EngineError.__init__(self, "; ".join(["this engine cannot run the graph", *self.details]))


class ModelMissing(EngineError):  # noqa: N818
    """A model that the server does not have."""

    def __init__(self, folder: str, name: str, available: Sequence[str], nearest: str | None) -> None:
        self.folder = folder
        self.name = name
        self.available = tuple(available)
        hint = f", did you mean {nearest!r}?" if nearest else "."
        have = ", ".join(self.available[:8]) or "none at all"
        super().__init__(f"the server has no {folder} model {name!r}{hint} It has: {have}")


class JobFailed(EngineError):  # noqa: N818
    """A job ended as Failed or Interrupted."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(f"{kind}: {message}")
