"""What a service manager is told (systemd's sd_notify): ready, alive, reloading, stopping, and how it goes.

The protocol is small, see https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html: lines of
``NAME=value`` as one datagram to the socket that stands in the environment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

_LONGEST_STATUS = 400


class ServiceManager:
    """Whoever started us as a service; nobody is told anything where we are none.

    Args:
        address: Path of its socket, or its abstract name behind an ``@``; None for none.
        watchdog_s: It ends us where it hears of no life for so long; None where it does not.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self._address = address
        self._failed = False

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str], pid: int) -> ServiceManager:
        """The one that the environment names, and takes it out of there: it is not for our children.

        Args:
            environ: Of this process.
            pid: Of this process: a watchdog may be meant for another one.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        meant_for = environ.pop("WATCHDOG_PID", "")
        ours = address.startswith(("/", "@")) and len(address) > 1
        watched = ours and microseconds.isascii() and microseconds.isdigit() and meant_for in ("", str(pid))
        watchdog_s = int(microseconds) / 1e6 if watched else 0.0
        return cls(address if ours else None, watchdog_s or None)

    @property
    def there(self) -> bool:
        """Whether there is one."""
        return self._address is not None

    def ready(self) -> None:
        """All parts run, after the start or after a reload."""
        self.tell("READY=1")

    def alive(self) -> None:
        """The watchdog's time begins anew."""
        self.tell("WATCHDOG=1")

    def reloading(self) -> None:
        """Settings are being read again, until ready() says that this is done."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self.tell("STOPPING=1")

    def status(self, line: str) -> None:
        """How it goes, in one line for people."""
        self.tell(f"STATUS={' '.join(line.split())[:_LONGEST_STATUS]}")

    def tell(self, *assignments: str) -> None:
        """Send lines as they are; a manager that cannot be reached must not hold us up."""
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                with contextlib.suppress(OSError):  # a line or two always fits; this is for a long STATUS
                    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
                sender.sendto(os.fsencode("\n".join(assignments)), address)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("the service manager at %s cannot be told anything: %s", self._address, error)
            self._failed = True
