"""Who watches: a bounded number of streams of each kind, none of which can hold up another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from backend.shim.answers import Code, RefusedError

_STALLED_S = 20.0
"""A viewer that takes nothing for so long is sent away; it comes back by itself if it lives."""
_GO_AWAY = {"Retry-After": "5", "Connection": "close"}
"""The connection goes, too: one that is kept would take the room of somebody who only asks."""


class Viewers:
    """Counts those who stay connected.

    Args:
        most: How many of each kind there may be.
        together: How many of all kinds.
    """

    def __init__(self, most: Mapping[str, int], together: int) -> None:
        self._most = dict(most)
        self._together = together
        self._now: Counter[str] = Counter()

    @property
    def now(self) -> Mapping[str, int]:
        """How many of each kind there are."""
        return dict(self._now)

    @contextmanager
    def admit(self, kind: str) -> Iterator[None]:
        """Count one in, and out again.

        Raises:
            RefusedError: 503; there are too many.
        """
        self._check(kind)
        self._now[kind] += 1
        try:
            yield
        finally:
            self._now[kind] -= 1

    def stream(
        self,
        kind: str,
        pieces: AsyncIterator[bytes],
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> StreamingResponse:
        """A stream that is counted while it lasts.

        Raises:
            RefusedError: 503; there are too many.
        """
        self._check(kind)
        kept = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})}
        return _Stream(self._counted(kind, pieces), headers=kept, media_type=media_type)

    def _check(self, kind: str) -> None:
        too_many = kind if self._now[kind] >= self._most[kind] else None
        if too_many is None and self._now.total() >= self._together:
            too_many = "viewers"
        if too_many is not None:
            raise RefusedError(503, Code.BUSY, f"there are too many {too_many} already", _GO_AWAY)

    async def _counted(self, kind: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        with self.admit(kind):
            async for piece in pieces:
                yield piece


class _Stream(StreamingResponse):
    """Ends where nobody takes what is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(_STALLED_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            return
