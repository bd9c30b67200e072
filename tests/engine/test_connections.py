"""One slow client and the others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backend.engine import sockets
from backend.engine.messages import PictureType
from backend.engine.sockets import Connection, SocketHub, ThreadedAudience
from backend.engine.stock_nodes import CHECKPOINT
from tests.engine.listener import Listener
from tests.fakes.fake_comfy import FakeComfy, txt2img


class Transport:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Socket:
    """A WebSocket whose peer reads everything, or nothing."""

    def __init__(self, *, reads: bool) -> None:
        self.got: list[Any] = []
        self._reads = reads

    async def send_str(self, message: str) -> None:
        await self.send_bytes(message)

    async def send_bytes(self, message: Any) -> None:
        if not self._reads:
            await asyncio.Event().wait()
        self.got.append(message)


def connection(client_id: str, *, reads: bool) -> tuple[Connection, Socket, Transport]:
    socket, transport = Socket(reads=reads), Transport()
    return Connection(socket, transport, client_id), socket, transport  # type: ignore[arg-type]


def test_a_client_that_does_not_read_is_cut_off_and_the_others_hear_everything() -> None:
    async def story() -> tuple[Transport, Socket]:
        hub = SocketHub()
        stalled, _, transport = connection("stalled", reads=False)
        well, socket, _ = connection("well", reads=True)
        writers = [asyncio.create_task(one.write_out()) for one in (stalled, well)]
        for one in (stalled, well):
            hub.add(one)
        for index in range(3000):
            hub.tell("status", {"index": index})
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        for writer in writers:
            writer.cancel()
        return transport, socket

    transport, socket = asyncio.run(story())
    assert transport.aborted
    assert len(socket.got) == 3000


def test_pictures_wait_for_room_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(sockets, "_OUTBOX", 2)

    async def story() -> Transport:
        hub = SocketHub()
        stalled, _, transport = connection("stalled", reads=False)
        hub.add(stalled)
        for _ in range(3):
            await hub.show(b"frame", "stalled")
        return transport

    assert asyncio.run(story()).aborted


def test_whoever_waits_for_a_client_is_let_go_when_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_OUTBOX", 2)

    async def story() -> None:
        stalled, _, _ = connection("stalled", reads=False)
        stalled.put("one")
        stalled.put("two")
        waiting = [asyncio.create_task(stalled.put_in_turn(b"three")), asyncio.create_task(stalled.room())]
        await asyncio.sleep(0)
        stalled.close()
        await asyncio.wait_for(asyncio.gather(*waiting), 5.0)

    asyncio.run(story())


def test_a_busy_worker_waits_for_a_listener_that_reads_but_slowly(tmp_path: Path) -> None:
    with FakeComfy(tmp_path) as fake, Listener(fake.url) as client:
        heard = client.run(txt2img(CHECKPOINT, steps=4_000))
    assert sum(message.get("type") == "progress" for message in heard) == 4_000


def test_after_the_loop_is_closed_the_worker_goes_on_in_silence() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    audience = ThreadedAudience(SocketHub(), loop)
    audience.tell("status", {}, None)
    audience.show(PictureType.PNG, b"", None)
