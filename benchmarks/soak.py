"""``python -m benchmarks.soak URL``: the whole daemon on a real server, killed and restarted on the way.

It dreams for some minutes as a process of its own, behind a proxy that counts what it asks for. At given
moments the daemon is killed (by SIGKILL, then by SIGTERM, in turns) and started again, and the server is,
where commands for that are given. At the end: is any job of ours stuck in the server's queue, have the
server's folders and its history grown, is every keyframe accounted for, did the display only go forwards?

Settings of the dream can be given in the environment, e.g. DREAMLOOP_COMFYUI__CHECKPOINT=...
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks.counting_proxy import CountingProxy
from benchmarks.soak_daemon import Daemon, Soak

MAX_GROWTH_MB = 20.0
"""The ring of uploads, the latents in use, and what a killed daemon could not tidy up."""
MAX_FILES = 40
"""The same in files, for one life. Where the folders are out of our daemon's reach, each spent latent leaves
an empty file in a sub-folder besides, which is not seen from here."""
MAX_HISTORY = 18
"""Entries of the history that one life may leave: as many as the client deletes at once, and open ones."""
_FOLDERS = ("output", "input", "temp")
_POLL_S = 0.25
_HTTP_S = 10.0
_QUEUE_EMPTY_S = 120.0
_COMMAND_S = 300.0


@dataclass(frozen=True)
class Holding:
    """What one of the server's folders holds; ``bytes`` is None where only its top can be seen."""

    files: int
    bytes: int | None


@dataclass(frozen=True)
class Holdings:
    """What a server holds: ids in its queue, ids in its history, its folders (none if it does not tell)."""

    queued: frozenset[str]
    history: frozenset[str]
    folders: Mapping[str, Holding]


@dataclass
class Server:
    """The server under the soak, over HTTP, and its folders where they are on this machine."""

    url: str
    folder: Path | None

    def holdings(self) -> Holdings:
        """What it holds now."""
        queue = self._get("/queue")
        queued = {item[1] for items in queue.values() for item in items}
        return Holdings(frozenset(queued), frozenset(self._get("/history")), self._folders())

    def _folders(self) -> dict[str, Holding]:
        if self.folder is not None:
            return {kind: _held(self.folder / kind) for kind in _FOLDERS}
        try:
            return {kind: Holding(len(self._get(f"/internal/files/{kind}")), None) for kind in _FOLDERS}
        except (requests.RequestException, ValueError):
            return {}

    def _get(self, path: str) -> Any:
        answer = requests.get(self.url + path, timeout=_HTTP_S)
        answer.raise_for_status()
        return answer.json()


def _held(folder: Path) -> Holding:
    sizes = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # deleted while we look
            if path.is_file():
                sizes.append(path.stat().st_size)
    return Holding(len(sizes), sum(sizes))


def settled(server: Server, before: Holdings) -> tuple[Holdings, int]:
    """What the server holds once its queue is as empty as it gets, and how many new jobs are still in it."""
    until = time.monotonic() + _QUEUE_EMPTY_S
    while True:
        after = server.holdings()
        stuck = len(after.queued - before.queued)
        if not stuck or time.monotonic() > until:
            return after, stuck
        time.sleep(_POLL_S)


Row = tuple[str, str, str, bool]


def rows(soak: Soak, before: Holdings, after: Holdings, stuck: int) -> Iterator[Row]:
    """What, how much, what is wished, and whether that holds."""
    for number, boot in enumerate(soak.boots, 1):
        told = f"{boot.asked} / {boot.keyframes} / {boot.rejected} / {boot.failed}"
        how = "killed" if boot.killed else "stopped"
        yield f"life {number}, {how}: keyframes asked for / good / refused / failed", told, "", True
        yield (
            f"life {number}: in-betweens, frames shown",
            f"{boot.in_betweens}, {boot.frames_shown}",
            "",
            True,
        )
    lost = sum(boot.unaccounted for boot in soak.boots)
    yield "keyframes of which nothing is known", f"{lost}", "0", lost == 0
    yield "jobs stuck in the server's queue", f"{stuck}", "0", stuck == 0
    entries, most = len(after.history - before.history), MAX_HISTORY * len(soak.boots)
    yield "history entries left", f"{entries}", f"at most {most}", entries <= most
    yield from _growth(before, after, len(soak.boots))
    watched = soak.watched
    yield "steps back on the display", f"{watched.steps_back}", "0", watched.steps_back == 0
    yield "newest picture could not be shown", f"{watched.bad_pictures}", "0", watched.bad_pictures == 0
    clean = [-signal.SIGKILL if boot.killed else 0 for boot in soak.boots]
    yield "exit statuses", " ".join(map(str, soak.exits)), " ".join(map(str, clean)), soak.exits == clean
    yield "states seen", "", ", ".join(sorted(watched.states)), True


def _growth(before: Holdings, after: Holdings, lives: int) -> Iterator[Row]:
    """A folder that was emptied on the way (temp, at each start of a server) may only have shrunk."""
    if not before.folders or not after.folders:
        yield "growth of the server's folders", "not told", "", True
    for kind in sorted(before.folders.keys() & after.folders.keys()):
        old, new = before.folders[kind], after.folders[kind]
        files, most = new.files - old.files, MAX_FILES * lives
        yield f"{kind}: {new.files} files, growth", f"{files:+d}", f"at most {most}", files <= most
        if old.bytes is not None and new.bytes is not None:
            grown = (new.bytes - old.bytes) / 1e6
            holds = grown <= MAX_GROWTH_MB
            yield f"{kind}: growth, MB", f"{grown:+.3f}", f"at most {MAX_GROWTH_MB:.0f}", holds


def _restart(stop: str, start: str) -> None:
    for command in (stop, start):
        subprocess.run(shlex.split(command), check=True, timeout=_COMMAND_S, stdout=subprocess.DEVNULL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    moment: dict[str, Any] = {"type": float, "nargs": "*", "metavar": "MINUTE", "default": []}
    parser.add_argument("url", help="of a running ComfyUI")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--size", default="auto", metavar="WxH", help="of a keyframe, in pixels")
    parser.add_argument("--kill-daemon-at", **moment)
    parser.add_argument("--restart-server-at", **moment, help="needs both commands")
    parser.add_argument("--server-start", metavar="COMMAND", help="returns when the server answers")
    parser.add_argument("--server-stop", metavar="COMMAND", help="returns when the server is gone")
    parser.add_argument(
        "--server-folder", type=Path, metavar="PATH", help="holds its output, input and temp folders"
    )
    return parser


def main() -> int:
    parser = _parser()
    args = parser.parse_args()
    if args.restart_server_at and not (args.server_start and args.server_stop):
        parser.error("--restart-server-at needs --server-start and --server-stop")
    server = Server(args.url.rstrip("/"), args.server_folder)
    before = server.holdings()
    with tempfile.TemporaryDirectory(prefix="dreamloop-soak-") as folder, CountingProxy(args.url) as proxy:
        soak = Soak(Daemon(Path(folder), proxy.url, args.size), proxy)
        events: list[tuple[float, Callable[[], None]]] = [(at, soak.kill) for at in args.kill_daemon_at]
        for at in args.restart_server_at:
            events.append((at, lambda: _restart(args.server_stop, args.server_start)))
        try:
            soak.run(args.minutes, events)
        finally:
            if soak.daemon.is_running:
                soak.daemon.end(signal.SIGTERM)
    after, stuck = settled(server, before)
    all_hold = True
    print(f"{'what':<66}{'measured':>24}   wished")
    for what, measured, wished, holds in rows(soak, before, after, stuck):
        all_hold = all_hold and holds
        print(f"{what:<66}{measured:>24}   {wished}{'' if holds else '   MISSED'}")
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
