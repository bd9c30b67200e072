"""What the daemon answers for the shim: over its control socket, or through the shim of another machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.errors import NoDaemon
from backend.shim.answers import Code, RefusedError
from backend.utils.control import SOCKET_NAME, ask

_AT_A_TIME = 4
"""The daemon answers eight at a time; its own command line must find room."""
_WAIT_S = 5.0


class Daemon:
    """Asks the daemon whose status folder this is.

    Args:
        status: The status folder.
    """

    def __init__(self, status: Path) -> None:
        self._socket = status / SOCKET_NAME
        self._room = asyncio.Semaphore(_AT_A_TIME)

    async def ask(self, command: str, **details: Any) -> dict[str, Any]:
        """What it answers, without ``ok``.

        Raises:
            RefusedError: 503 where nobody is there, 409 where it refuses.
        """
        request = {"command": command, **details}
        async with self._room:
            try:
                answer = await asyncio.to_thread(ask, self._socket, request, _WAIT_S)
            except NoDaemon:
                raise RefusedError(
                    503, Code.NO_DAEMON, "Dreamloop is not running on this machine", {"Retry-After": "2"}
                ) from None
        return _good(answer)


def _good(answer: Mapping[str, Any]) -> dict[str, Any]:
    if not answer.get("ok"):
        raise RefusedError(409, Code.REFUSED, str(answer.get("error") or "refused without a reason"))
    return {key: value for key, value in answer.items() if key != "ok"}
