"""A stand-in for the daemon: its folders with frames and a status, and its control socket."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from backend.engine import png
from backend.shim.spec import ShimSpec
from backend.utils.control import SOCKET_NAME, ControlServer
from backend.utils.file_ops import link_atomic, write_atomic
from backend.utils.status_schema import (
    DisplayStatus,
    DreamStatus,
    FrameStatus,
    Reason,
    State,
    StatusBody,
    utc_text,
)
from backend.utils.status_writer import compose


def picture(number: int, size: tuple[int, int] = (64, 36)) -> bytes:
    """A PNG like no other."""
    rng = np.random.default_rng(number)
    return png.encode(rng.integers(0, 255, (size[1], size[0], 3), np.uint8))


class StandIn:
    """Folders as the daemon fills them.

    Args:
        folder: Where output/ and status/ are made.
    """

    def __init__(self, folder: Path) -> None:
        self.output, self.status, self.memory = folder / "output", folder / "status", folder / "memory"
        for each in (self.output / "frames", self.status, self.memory / "pictures"):
            each.mkdir(parents=True, exist_ok=True)
        self.sequence = 0
        self.writes = 0
        self.boot = "b" * 32
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self._control: ControlServer | None = None

    @property
    def spec(self) -> ShimSpec:
        """A shim on any free port of this machine."""
        return ShimSpec(self.output, self.status, self.memory, "127.0.0.1", 0, self.status / "token")

    def show(
        self,
        data: bytes | None = None,
        *,
        suffix: str = ".png",
        state: State = State.DREAMING,
        seconds: float = 0.2,
    ) -> bytes:
        """Show one more frame, and tell of it."""
        self.sequence += 1
        shown = picture(self.sequence) if data is None else data
        path = self.output / "frames" / f"{self.sequence:09d}{suffix}"
        write_atomic(path, shown)
        link_atomic(path, self.output / "current_frame.png")
        self.tell(state, self._frame(path, shown, seconds))
        return shown

    def tell(self, state: State, frame: FrameStatus | None = None) -> None:
        """Write the status."""
        self.writes += 1
        body = StatusBody(
            state=state,
            reason=Reason(),
            frame=frame,
            dream=DreamStatus(theme="aurora", prompt="green <b>light</b>", keyframes=7),
            display=DisplayStatus(fps=5, shown_fps=5, buffer_seconds=6, buffer_target_seconds=12),
        )
        status = compose(
            body,
            boot_id=self.boot,
            pid=1,
            sequence=self.writes,
            updated_at=datetime.now(UTC),
            uptime_s=float(self.writes),
        )
        write_atomic(self.status / "status.json", status.model_dump_json().encode())

    def answer(self) -> None:
        """Answer at the control socket; what is asked is noted."""
        self._control = ControlServer(self.status / SOCKET_NAME, self._obey)
        self._control.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._control is not None:
            self._control.stop()

    def remember(self, data: bytes) -> str:
        """Put a picture into the memory's folder; its id."""
        name = hashlib.sha256(data).hexdigest()
        path = self.memory / "pictures" / name[:2] / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, data)
        return name

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        known: Mapping[str, Any] = self.answers.get(str(request.get("command")), {"state": "dreaming"})
        return {"ok": True, **known}

    def _frame(self, path: Path, data: bytes, seconds: float) -> FrameStatus:
        return FrameStatus(
            sequence=self.sequence,
            file=f"frames/{path.name}",
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            width=64,
            height=36,
            format="png",
            kind="in_between",
            theme="aurora",
            shown_at=utc_text(datetime.now(UTC)),
            duration_s=seconds,
        )


def as_json(data: bytes) -> Any:
    """What a file or an answer holds."""
    return json.loads(data)
