"""``main.py run``: dream until told to stop."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from backend.cli import exit_codes
from backend.cli.desktop import PageOpener
from backend.cli.herald import Herald
from backend.cli.live_line import LiveLine, describe
from backend.errors import AlreadyRunning, PromptsError, StorageError
from backend.service.notify import ServiceManager
from backend.utils.logs import EVENT
from backend.utils.renewals import Renewals

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic
    from backend.config import Settings
    from backend.config_sections import StorageSettings
    from backend.utils.status_schema import Status

log = logging.getLogger(__name__)

_TICK_S = 0.2
_STOP_S = 8.0
_OPEN = "--open"
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


class RunningDream(Protocol):
    """What the command needs of a dream that has been started."""

    @property
    def finished(self) -> threading.Event: ...

    @property
    def status(self) -> Status: ...

    @property
    def stalled(self) -> str | None:
        """Who hangs; None while it lives."""
        ...

    @property
    def given_up(self) -> str | None:
        """Why it must end and be started anew, None while it need not."""
        ...

    @property
    def renewal(self) -> str | None:
        """Why the process is to begin anew though all is well, None while it need not."""
        ...

    @property
    def pages(self) -> str | None:
        """The address of the pages; None while they are not served."""
        ...

    def tick(self) -> None: ...

    def reload(self) -> Callable[[], bool]:
        """Have settings and themes read again; does not wait, but gives who says whether that is done."""
        ...


Compose = Callable[["Settings", int | None], AbstractContextManager[RunningDream]]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser("run", help="dream until told to stop (the default)")
    parser.add_argument("--frames", type=_positive, metavar="N", help="stop after N shown frames")
    parser.add_argument(_OPEN, action="store_true", help="open the display page in the desktop's browser")
    parser.add_argument(
        "--log-file", type=Path, metavar="PATH", help="log there, in two files of 5 MB at the most"
    )
    return parser


def run(
    args: argparse.Namespace,
    settings: Settings,
    compose: Compose,
    signals: Signals,
    renewals: Renewals | None = None,
) -> int:
    """Dream; returns the exit status. ``renewals`` are what the lives of this process before it came to."""
    environ = dict(os.environ)
    herald = Herald(ServiceManager.taken_from(os.environ, os.getpid()), time.monotonic)
    try:
        with ExitStack() as stack, compose(settings, args.frames) as dream:
            herald.ready()
            opener = PageOpener(environ) if args.open else None
            if args.open and settings.shim.serve == "never":
                log.warning("there are no pages to open (shim.serve: never)")
            _watch(dream, signals, herald, opener)
            shown, given_up, renewal = dream.status, dream.given_up, dream.renewal
            herald.stopping()
            stack.enter_context(_ends_in_time(exit_codes.OK if given_up is None else exit_codes.FAULT))
    except AlreadyRunning as error:
        print(f"dreamloop: {error}", file=sys.stderr)
        return exit_codes.ALREADY_RUNNING
    except PromptsError as error:
        print(f"the prompts cannot be used:\n{error}", file=sys.stderr)
        return exit_codes.CONFIG
    except StorageError as error:
        print(_refusal(error, settings.storage), file=sys.stderr)
        return exit_codes.STORAGE
    number = shown.frame.sequence if shown.frame else 0
    log.info("stopped after %d shown frames; the newest is number %d", shown.display.frames_shown, number)
    if given_up is None and renewal is not None and not signals.stop:
        log.warning("%s: it begins anew", renewal, extra=EVENT)
        begin_anew({**environ, **(renewals or Renewals()).and_one(renewal).told()})
    return exit_codes.OK if given_up is None else exit_codes.FAULT


def begin_anew(environ: Mapping[str, str]) -> None:
    """The same program in this process, whose id stays as service managers know it."""
    logging.shutdown()
    words = [word for word in sys.orig_argv if word != _OPEN]  # the page is open, and finds us again
    os.execve(sys.executable, words, dict(environ))  # noqa: S606 - that is what it is for


@contextmanager
def _ends_in_time(status: int) -> Iterator[None]:
    """A part that hangs must not keep the process: it ends some seconds later, come what may."""
    last_resort = threading.Timer(_STOP_S, _end_at_once, (status,))
    last_resort.daemon = True
    last_resort.start()
    try:
        yield
    finally:
        last_resort.cancel()


def _end_at_once(status: int) -> None:
    log.error("something does not stop: Dreamloop ends without it")
    logging.shutdown()
    os._exit(status)


def _refusal(error: StorageError, storage: StorageSettings) -> str:
    """Which setting led to the folder that cannot be used, and what would help."""
    is_status = error.path.is_relative_to(storage.status)
    key, folder = ("status", storage.status) if is_status else ("output", storage.output)
    wish = "name a folder that this user may write to"
    if error.errno in _NO_LOCKS:
        wish = "its file system knows no locks, as NFS without a lock service; name a folder on a local disk"
    return f"storage.{key} = {folder} cannot be used: {error}\n{wish}, in config.yaml or the environment"


class Signals:
    """Remembers that a signal came; the main loop looks. A handler must do no more than that.

    Made before anything else, so that a signal in the first second ends in an orderly way too.

    Attributes:
        stop: The dream is to end.
        hangup: SIGHUP came: settings are to be read again, or the terminal was closed.
    """

    def __init__(self) -> None:
        self.stop = self.hangup = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.hangup = True
        else:
            self.stop = True


def _watch(dream: RunningDream, signals: Signals, herald: Herald, opener: PageOpener | None) -> None:
    """Keep the status fresh, the terminal's line calm and the watchdog quiet until it is time to stop."""
    line = LiveLine(sys.stderr)
    on_terminal = line.on_terminal
    try:
        while not (signals.stop or dream.given_up or dream.renewal or dream.finished.wait(_TICK_S)):
            try:
                if signals.hangup:
                    signals.hangup = False
                    _hung_up(dream, signals, herald, on_terminal)
                dream.tick()
                line.show(dream.status)
                if opener is not None:
                    opener.look(dream.pages)
                herald.turn(dream.stalled, lambda: describe(dream.status))
            except Exception:
                log.exception("the status stumbled; the dream goes on")
    finally:
        line.close()


def _hung_up(dream: RunningDream, signals: Signals, herald: Herald, on_terminal: bool) -> None:
    """A reload; but who began on a terminal that is gone now could never be stopped by Ctrl-C."""
    if on_terminal and not sys.stderr.isatty():
        signals.stop = True
        return
    log.info("told to read settings and themes again (SIGHUP)", extra=EVENT)
    herald.reloading(dream.reload())


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of frames from 1")
    return number
