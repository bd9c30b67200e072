"""The HTTP face under load: does anybody's viewing slow the dream, or anybody else's viewing?

A whole daemon dreams on the paced engine; who watches is a process of its own, pinned to one core.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.paced import paced_engine

ROOT = Path(__file__).resolve().parent.parent
FPS = 10
POLLERS, STREAMS, VIEWERS, POLL_HZ = 500, 50, 5, 2.0
STALLED_BYTES_S = 1_000
_START_S = 90.0


@dataclass
class Seen:
    """What those who watched got.

    Attributes:
        seconds: How long they watched.
        latencies_s: Of each answered poll.
        viewer_fps: Frames a second of each MJPEG viewer.
        event_fps: The same of each event stream.
    """

    seconds: float
    polls: int = 0
    failed: int = 0
    latencies_s: list[float] = field(default_factory=list)
    viewer_fps: list[float] = field(default_factory=list)
    event_fps: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Load:
    """The dream alone, watched, and watched with one viewer who takes next to nothing."""

    alone_fps: float
    watched_fps: float
    seen: Seen
    stalled_fps: float
    seen_stalled: Seen


def load(seconds: float, pollers: int = POLLERS) -> Load:
    """Measures all three one after the other on one daemon."""
    with paced_engine() as engine, _dream(engine.url) as (status, url):
        alone = _rate(status, seconds)
        seen, watched = _watched(url, status, seconds, pollers, stalled=False)
        seen_stalled, stalled = _watched(url, status, seconds, pollers, stalled=True)
    return Load(alone, watched, seen, stalled, seen_stalled)


def rows(quick: bool) -> list[tuple[str, str, str]]:
    """The table of ``make bench``."""
    found = load(8.0 if quick else 40.0)
    seen, other = found.seen, found.seen_stalled
    quantiles = statistics.quantiles(seen.latencies_s or [0.0, 0.0], n=100)
    viewers, beside = (statistics.mean(one.viewer_fps or [0.0]) for one in (seen, other))
    return [
        ("frames/s of the dream, nobody watching", f"{found.alone_fps:.2f}", ""),
        (
            f"frames/s, watched : alone ({POLLERS} pollers, ...)",
            f"{found.watched_fps / found.alone_fps:.3f}",
            "at least 0.95",
        ),
        ("polls answered a second", f"{seen.polls / seen.seconds:.0f}", f"{POLLERS * POLL_HZ:.0f} asked"),
        ("polls that failed", f"{seen.failed}", "0"),
        ("poll, ms: p50, p99", f"{1e3 * quantiles[49]:.1f} {1e3 * quantiles[98]:.1f}", ""),
        ("frames/s of an event stream, mean", f"{statistics.mean(seen.event_fps or [0.0]):.2f}", ""),
        ("frames/s of an MJPEG viewer, mean", f"{viewers:.2f}", ""),
        ("    beside one stalled at 1 kB/s : without", f"{beside / max(viewers, 1e-9):.3f}", "above 0.95"),
    ]


@contextmanager
def _dream(engine_url: str) -> Iterator[tuple[Path, str]]:
    """A daemon that dreams on an engine: its status file, and the address of its pages."""
    with tempfile.TemporaryDirectory(prefix="dreamloop-window-") as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings: dict[str, dict[str, Any]] = {
            "comfyui": {"url": engine_url},
            "dream": {"size": "256x144", "seconds_per_keyframe": 2, "seed": 7},
            "display": {"fps": FPS, "buffer_seconds": 6, "keep_seconds": 20},
            "storage": {"output": "output", "status": "status"},
            "prompts": {"folder": str(ROOT / "prompts")},
            "shim": {"port": port},
        }
        (folder / "config.yaml").write_text(json.dumps(settings))
        command = [sys.executable, str(ROOT / "main.py"), "--config", str(folder / "config.yaml"), "run"]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                _wait_for(folder / "status" / "status.json", port)
                yield folder / "status" / "status.json", f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(30)


def _wait_for(status: Path, port: int) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        try:
            dreams = json.loads(status.read_bytes())["state"] in ("dreaming", "resting")
            if dreams and socket.create_connection(("127.0.0.1", port), 1.0):
                return
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.2)
    raise TimeoutError("the daemon does not dream")


def _rate(status: Path, seconds: float) -> float:
    def shown() -> tuple[int, float]:
        return json.loads(status.read_bytes())["display"]["frames_shown"], time.monotonic()

    before, start = shown()
    time.sleep(seconds)
    after, end = shown()
    return float((after - before) / (end - start))


def _watched(url: str, status: Path, seconds: float, pollers: int, *, stalled: bool) -> tuple[Seen, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_watch, args=(theirs, url, seconds + 2.0, pollers, stalled), daemon=True)
    process.start()
    assert ours.recv() == "begun"
    time.sleep(1.0)
    rate = _rate(status, seconds)
    seen: Seen = ours.recv()
    process.join(30)
    return seen, rate


def _watch(pipe: Connection, url: str, seconds: float, pollers: int, stalled: bool) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pipe.send("begun")
    pipe.send(asyncio.run(_all(url, seconds, pollers, stalled)))


async def _all(url: str, seconds: float, pollers: int, stalled: bool) -> Seen:
    seen = Seen(seconds)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        tasks = [
            asyncio.create_task(_poll(session, url, seconds, at / pollers, seen)) for at in range(pollers)
        ]
        tasks += [asyncio.create_task(_events(session, url, seconds, seen)) for _ in range(STREAMS)]
        tasks += [asyncio.create_task(_view(session, url, seconds, seen)) for _ in range(VIEWERS)]
        if stalled:
            tasks.append(asyncio.create_task(_crawl(url, seconds)))
        await asyncio.gather(*tasks)
    return seen


async def _poll(session: aiohttp.ClientSession, url: str, seconds: float, phase: float, seen: Seen) -> None:
    start = time.monotonic() + phase / POLL_HZ
    for at in range(int(seconds * POLL_HZ)):
        await asyncio.sleep(max(0.0, start + at / POLL_HZ - time.monotonic()))
        asked = time.monotonic()
        try:
            async with session.get(f"{url}/api/status") as answer:
                await answer.read()
                seen.failed += answer.status != 200
        except aiohttp.ClientError:
            seen.failed += 1
        seen.polls += 1
        seen.latencies_s.append(time.monotonic() - asked)


async def _events(session: aiohttp.ClientSession, url: str, seconds: float, seen: Seen) -> None:
    seen.event_fps.append(await _count(session, f"{url}/api/events", b"event: frame", seconds))


async def _view(session: aiohttp.ClientSession, url: str, seconds: float, seen: Seen) -> None:
    seen.viewer_fps.append(await _count(session, f"{url}/stream.mjpg", b"Content-Type: image/jpeg", seconds))


async def _count(session: aiohttp.ClientSession, url: str, mark: bytes, seconds: float) -> float:
    """How often a mark comes a second."""
    start, count, rest = time.monotonic(), 0, b""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=20)
    async with session.get(url, timeout=timeout) as answer:
        async for piece in answer.content.iter_any():
            rest += piece
            count += rest.count(mark)
            rest = rest[-(len(mark) - 1) :]
            if time.monotonic() - start > seconds:
                break
        answer.close()
    return count / (time.monotonic() - start)


async def _crawl(url: str, seconds: float) -> None:
    """A viewer who takes a thousand bytes a second."""
    host, _, port = url.removeprefix("http://").partition(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, (host, int(port)))
    await loop.sock_sendall(raw, f"GET /stream.mjpg HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await loop.sock_recv(raw, STALLED_BYTES_S)
        await asyncio.sleep(1.0)
    raw.close()
