"""What happens to a daemon in the course of months, at random, in minutes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import requests

from tests.soak.dreamer import Dreamer

_HTTP_S = 5.0
_GUARD_S = 60.0
_VIEWERS = 12

Deed = Callable[[Dreamer, random.Random], None]


@dataclass(frozen=True)
class Mischief:
    """One sort of fault.

    Attributes:
        weight: How often it is drawn, beside others.
        ends_life: Whether the daemon's process ends by it.
        do: Provokes it and puts an end to it; who does it waits for the dream to go on afterwards.
    """

    name: str
    weight: int
    do: Deed
    ends_life: bool = False


def kill(dreamer: Dreamer, _: random.Random) -> None:
    dreamer.end(signal.SIGKILL)
    dreamer.start()


def stop(dreamer: Dreamer, _: random.Random) -> None:
    assert dreamer.end(signal.SIGTERM) == 0, dreamer.said()
    dreamer.start()


def kill_engine(dreamer: Dreamer, _: random.Random) -> None:
    engine = dreamer.engine()
    if engine is not None:
        engine.kill()


def pause_engine(dreamer: Dreamer, rng: random.Random) -> None:
    engine = dreamer.engine()
    if engine is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        engine.suspend()
        time.sleep(rng.uniform(0.5, 6.0))
        engine.resume()


def interrupt_engine(dreamer: Dreamer, _: random.Random) -> None:
    """By somebody else, for everybody."""
    with contextlib.suppress(requests.RequestException):
        requests.post(f"http://127.0.0.1:{dreamer.port}/interrupt", timeout=_HTTP_S)


def kill_pages(dreamer: Dreamer, _: random.Random) -> None:
    until_served(dreamer)
    shim = dreamer.shim()
    assert shim is not None
    shim.kill()
    shim.wait(_GUARD_S)
    until_served(dreamer)


def until_served(dreamer: Dreamer) -> int:
    """The port of the pages, as soon as there are any."""
    end = time.monotonic() + _GUARD_S
    while (port := dreamer.page()) is None:
        assert time.monotonic() < end, f"nobody serves the pages:\n{dreamer.said()}"
        time.sleep(0.1)
    return port


def hang_up(dreamer: Dreamer, _: random.Random) -> None:
    os.kill(dreamer.process.pid, signal.SIGHUP)


def edit(dreamer: Dreamer, rng: random.Random) -> None:
    before = dreamer.until(lambda _: True)["config"]
    dreamer.tree["dream"]["denoise"] = round(rng.uniform(0.3, 0.6), 4)
    dreamer.tree["prompts"]["seconds_per_theme"] = rng.randint(5, 9)
    dreamer.configure(dreamer.tree)
    dreamer.until(lambda now: now["config"]["ok"] and now["config"]["taken"] > before["taken"])


def edit_badly(dreamer: Dreamer, rng: random.Random) -> None:
    """The old settings hold, and the status says what is wrong, until the file is good again."""
    mistakes = ["dream: [", "dream: {denoise: much}", "no_such: 1", "", "\0\0", '{"display": {"fps": -1}}']
    dreamer.config_path.write_text(rng.choice(mistakes))
    dreamer.until(lambda now: not now["config"]["ok"])
    dreamer.configure(dreamer.tree)
    dreamer.until(lambda now: now["config"]["ok"])


def stall_viewers(dreamer: Dreamer, rng: random.Random) -> None:
    """Some take nothing of what they asked for, some say half a sentence, some go at once."""
    port = until_served(dreamer)
    with contextlib.ExitStack() as stack:
        for path in rng.choices(["/stream.mjpg", "/api/events", "/api/frames/latest?wait=5"], k=_VIEWERS):
            with contextlib.suppress(OSError):
                one = socket.create_connection(("127.0.0.1", port), _HTTP_S)
                stack.enter_context(contextlib.closing(one))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                asked = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
                one.sendall(asked[: len(asked) if rng.random() < 0.8 else 20])
        time.sleep(rng.uniform(0.0, 4.0))


def fill_disk(dreamer: Dreamer, rng: random.Random) -> None:
    dreamer.disk.fill()
    try:
        dreamer.until(lambda now: now["reason"]["code"] == "storage")
        time.sleep(rng.uniform(0.5, 3.0))
    finally:
        dreamer.disk.make_room()


ALL = (
    Mischief("kill -9 of the daemon", 3, kill, ends_life=True),
    Mischief("SIGTERM of the daemon", 2, stop, ends_life=True),
    Mischief("kill -9 of the engine", 2, kill_engine),
    Mischief("engine stands still", 2, pause_engine),
    Mischief("interrupted by others", 2, interrupt_engine),
    Mischief("kill -9 of the pages", 1, kill_pages),
    Mischief("SIGHUP", 2, hang_up),
    Mischief("good edit", 2, edit),
    Mischief("bad edit", 2, edit_badly),
    Mischief("viewers stall", 2, stall_viewers),
    Mischief("disk full", 2, fill_disk),
)
