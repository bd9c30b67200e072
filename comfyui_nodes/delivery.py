"""Where frames go: to the client over its socket, or into the server's temp folder for one that is deaf."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .encoding import Encoding
from .messages import PLAIN, WITH_ORIGIN, Origin, plain, with_origin


class Sender(Protocol):
    """Sends binary messages to the client."""

    def send(self, event: int, payload: bytes) -> bool:
        """False where the client is gone."""
        ...


class SocketDelivery:
    """Sends each frame to the client of the prompt, with its number where the client asked to be told."""

    def __init__(
        self, sender: Sender, origin: Origin, encoding: Encoding, frames: int, *, named: bool
    ) -> None:
        self._sender = sender
        self._origin = origin
        self._encoding = encoding
        self._frames = frames
        self._named = named

    def deliver(self, frame: int, picture: bytes) -> bool:
        if not self._named:
            return self._sender.send(PLAIN, plain(picture, self._encoding))
        told = with_origin(picture, self._encoding, self._origin, frame, self._frames)
        return self._sender.send(WITH_ORIGIN, told)


@dataclass(frozen=True)
class SavedFrame:
    """A file in the temp folder."""

    frame: int
    filename: str

    def as_json(self) -> Mapping[str, str]:
        """As clients are told of files."""
        return {"filename": self.filename, "subfolder": "", "type": "temp"}


class FolderDelivery:
    """Writes each frame into a folder, from where it can be fetched."""

    def __init__(self, folder: Path, origin: Origin, encoding: Encoding) -> None:
        self._folder = folder
        self._prefix = f"dreamloop_{_safe(origin.prompt_id)}_{_safe(origin.node_id)}"
        self._suffix = encoding.suffix
        self._saved: list[SavedFrame] = []
        self._lock = threading.Lock()

    @property
    def saved(self) -> list[SavedFrame]:
        """What was written so far, in the order of the frames."""
        with self._lock:
            return sorted(self._saved, key=lambda one: one.frame)

    def deliver(self, frame: int, picture: bytes) -> bool:
        saved = SavedFrame(frame, f"{self._prefix}_{frame:05}{self._suffix}")
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / saved.filename).write_bytes(picture)
        with self._lock:
            self._saved.append(saved)
        return True


def _safe(name: str) -> str:
    """Letters that no path heeds: prompt ids come from outside."""
    return "".join(letter for letter in name if letter.isascii() and (letter.isalnum() or letter == "-"))[:64]
