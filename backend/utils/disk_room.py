"""Room on the disk of the dream: below a reserve only what a display needs is written."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from backend.utils.logs import EVENT
from backend.utils.probe import Probe

log = logging.getLogger(__name__)

_ENOUGH = 1.25
"""Share of the reserve at which there is room again, so that it does not flicker."""


class DiskRoom:
    """Knows how much is free; whoever writes more than a display needs asks :attr:`scarce` first.

    Args:
        folder: On the disk that is looked at.
        reserve_bytes: What is to stay free.
        free: Bytes that are free there; may hang where the folder is on a network.
    """

    def __init__(
        self,
        folder: Path,
        reserve_bytes: int,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self.free_bytes: int | None = None
        """As last seen; None while it is not known."""
        self.scarce = False
        """Whether there is too little for anything but the display; what is unknown is not scarce."""
        self.reserve_bytes = reserve_bytes
        self._folder = folder
        self._probe = Probe("room on the disk", lambda: free(folder))

    def look(self) -> None:
        """Look at the disk; takes two seconds at the most."""
        self.free_bytes = free = self._probe()
        if free is None:
            return
        if not self.scarce and free < self.reserve_bytes:
            self.scarce = True
            log.warning("%s", self.sentence, extra=EVENT)
        elif self.scarce and free >= _ENOUGH * self.reserve_bytes:
            self.scarce = False
            log.info("there is room on the disk again: all is written as before", extra=EVENT)

    @property
    def sentence(self) -> str:
        """What is the matter, for people; empty where nothing is."""
        if not self.scarce or self.free_bytes is None:
            return ""
        free, enough = (f"{size / 1e6:,.0f} MB" for size in (self.free_bytes, _ENOUGH * self.reserve_bytes))
        return (
            f"only {free} are free on the disk of {self._folder}: nothing is remembered or recorded, and few "
            f"frames are kept, until there are {enough}"
        )
