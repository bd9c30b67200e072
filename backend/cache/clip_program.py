"""The program that runs CLIP: ``python -m backend.cache.clip_program SOCKET CHOICE``.

It connects to the socket, loads what the choice (JSON) names, says who it is, and answers one question after
the other. It ends when its standard input or the socket does: whoever started it is gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.cache.clip_weights import ClipChoice
from backend.cache.matching import Vectors
from backend.errors import DreamloopError, PictureRejected

if TYPE_CHECKING:
    from backend.cache.clip_matcher import ClipMatcher

_NICENESS = 10
_MAX_HEADER = 1 << 20
_MAX_PART = 1 << 30


class Line:
    """Messages over a socket: a header of JSON and parts of bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
        """Raises OSError where nobody listens."""
        text = json.dumps(header | {"sizes": [len(part) for part in parts]}).encode()
        self._socket.sendall(len(text).to_bytes(4, "big") + text)
        for part in parts:
            self._socket.sendall(part)

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        """Raises OSError where nobody speaks, or nothing that makes sense."""
        size = int.from_bytes(self._exactly(4), "big")
        if size > _MAX_HEADER:
            raise ConnectionError(f"a header of {size} bytes")
        header = json.loads(self._exactly(size))
        if any(not 0 <= part <= _MAX_PART for part in header["sizes"]):
            raise ConnectionError(f"parts of {header['sizes']} bytes")
        return header, [self._exactly(part) for part in header["sizes"]]

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        have = 0
        while have < size:
            got = self._socket.recv_into(memoryview(data)[have:])
            if not got:
                raise ConnectionResetError("the other side is gone")
            have += got
        return bytes(data)


def told(choice: ClipChoice) -> str:
    """A choice as JSON."""
    return json.dumps(asdict(choice), default=str)


def understood(text: str) -> ClipChoice:
    """The choice that was told."""
    values = json.loads(text)
    head = values["head"]
    return replace(
        ClipChoice(**values), folder=Path(values["folder"]), head=None if head is None else Path(head)
    )


def packed(vectors: Vectors) -> tuple[dict[str, Any], list[bytes]]:
    """Numbers as a header and a part."""
    return {"shape": list(vectors.shape)}, [np.ascontiguousarray(vectors, np.float32).tobytes()]


def unpacked(header: dict[str, Any], parts: Sequence[bytes]) -> Vectors:
    """The numbers; raises ValueError if there are more or fewer than the header says."""
    return np.frombuffer(parts[0], np.float32).reshape(header["shape"]).copy()


def main(arguments: Sequence[str]) -> None:
    path, choice = arguments
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        _serve(Line(connection), understood(choice))


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _serve(line: Line, choice: ClipChoice) -> None:
    try:
        matcher = _loaded(choice)
    except Exception as error:  # noqa: BLE001 - whatever it was, who waits is told
        why = str(error) if isinstance(error, DreamloopError) else f"{type(error).__name__}: {error}"
        line.send({"unfit": why})
        with contextlib.suppress(OSError):
            line.receive()  # nothing more is asked: it is the end that is waited for
        return
    line.send(
        {
            "identity": asdict(matcher.identity),
            "thresholds": asdict(matcher.thresholds),
            "device": matcher.device,
        }
    )
    while True:
        try:
            header, parts = line.receive()
        except OSError:
            return
        answer, numbers = _answer(matcher, header, parts)
        line.send(answer, numbers)


def _loaded(choice: ClipChoice) -> ClipMatcher:
    import torch

    from backend.cache.clip_matcher import ClipMatcher

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # the engine paints on these cores too
    return ClipMatcher(choice)


def _answer(
    matcher: ClipMatcher, header: dict[str, Any], parts: list[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    try:
        if header["do"] == "texts":
            return packed(matcher.embed_texts(header["texts"]))
        if header["do"] == "scores":
            return packed(matcher.scores(unpacked(header, parts), []))
        return packed(matcher.embed(parts))
    except PictureRejected as error:
        return {"rejected": error.reason, "detail": str(error).removeprefix(f"{error.reason}: ")}, []
    except Exception as error:  # noqa: BLE001 - whatever it was, who waits is told
        return {"failed": f"{type(error).__name__}: {error}"[:500]}, []


if __name__ == "__main__":
    main(sys.argv[1:])
