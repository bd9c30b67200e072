"""Room on the disk: a film must not take what the dream needs."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from backend.errors import ExportRefused, StorageError

_RESERVE_SHARE = 0.05


class _Usage(Protocol):
    @property
    def total(self) -> int: ...

    @property
    def free(self) -> int: ...


class DiskGuard:
    """Looks at the disk that a film goes to.

    Args:
        folder: Where the film goes; it need not be there yet.
        usage: Total and free bytes of the disk of a folder.
        reserve_bytes: What is to stay free for the dream, though no more than a twentieth of a small disk.
    """

    def __init__(
        self,
        folder: Path,
        usage: Callable[[Path], _Usage] = shutil.disk_usage,
        *,
        reserve_bytes: int,
    ) -> None:
        self._folder = next(one for one in (folder, *folder.parents) if one.exists())
        self._usage = usage
        self._reserve_bytes = reserve_bytes

    def check(self, estimate_bytes: int) -> None:
        """Before the film is begun; raises ExportRefused where it would hardly find room."""
        free = self._free()
        if estimate_bytes > free:
            raise ExportRefused(
                f"the film would take about {_mb(estimate_bytes)}, and {self._folder} has {_mb(free)} to "
                "spare: make it shorter or smaller (--last, --fps, --size), or put it elsewhere"
            )

    def look(self) -> None:
        """While it is made; raises StorageError before the disk is full, so that the dream has room."""
        if self._free() <= 0:
            raise StorageError(self._folder, OSError(errno.ENOSPC, "the disk is nearly full"))

    def _free(self) -> int:
        """Bytes beyond what is left to the dream."""
        usage = self._usage(self._folder)
        return usage.free - min(self._reserve_bytes, int(usage.total * _RESERVE_SHARE))


def _mb(count: int) -> str:
    return f"{max(0, count) / 1e6:,.0f} MB"
