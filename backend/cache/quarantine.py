"""What is broken is set aside, never deleted at once: perhaps a person can still make something of it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backend.errors import StorageError

log = logging.getLogger(__name__)

KEEP = 3
"""Of each kind of file (the database, its log, pictures, latents), the newest."""
_SET_ASIDE = re.compile(r".+?(?P<kind>\.[A-Za-z0-9-]+)\.corrupt\.(?P<when>\d{8}T\d{12}Z)")


def set_aside(path: Path, folder: Path, clock: Callable[[], datetime]) -> Path | None:
    """Moves a file, or whatever stands under its name, to ``<folder>/<name>.corrupt.<time>``.

    Returns:
        Where it is now; None if there was nothing.

    Raises:
        StorageError: It cannot be moved.
    """
    moment = clock().astimezone(UTC)
    while (target := folder / f"{path.name}.corrupt.{moment:%Y%m%dT%H%M%S%f}Z").exists():
        moment += timedelta(microseconds=1)
    try:
        path.rename(target)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(path, error) from error
    log.warning("%s is damaged; it was set aside as %s", path, target.name)
    _forget_old(folder, target)
    return target


def _forget_old(folder: Path, newest: Path) -> None:
    kinds: dict[str, list[tuple[str, Path]]] = {}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path != newest and (found := _SET_ASIDE.fullmatch(path.name)):
                kinds.setdefault(found["kind"], []).append((found["when"], path))
    for kind, paths in kinds.items():
        same = _SET_ASIDE.fullmatch(newest.name)
        keep = KEEP - 1 if same and same["kind"] == kind else KEEP
        for _, path in sorted(paths)[:-keep]:
            with contextlib.suppress(OSError):
                path.unlink()
