"""Whether a film can be put somewhere, found out before anything is decoded for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from backend.errors import StorageError
from backend.utils.file_ops import scratch_folder


def check_place(target: Path) -> None:
    """Try it; nothing is left of that.

    Raises:
        StorageError: Nothing can be put there; it names what is to blame, a file in the way for instance.
    """
    folder = next((one for one in target.parents if os.path.lexists(one)), Path())
    if not folder.is_dir():
        raise StorageError(folder, OSError(errno.ENOTDIR, "no folder, so that nothing can be put into it"))
    try:
        with scratch_folder(folder, target.name or "export"):
            pass
    except StorageError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise StorageError(target, OSError(error.errno, os.strerror(error.errno))) from error
        reason = os.strerror(error.errno or errno.EIO).lower()
        raise StorageError(folder, OSError(error.errno, f"nothing can be put there ({reason})")) from error
