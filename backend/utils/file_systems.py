"""On what sort of file system a folder is: networks have habits that a display should know of."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p", "ncpfs"}
)
_NETWORK_FUSE = ("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.rclone", "fuse.s3fs", "fuse.davfs")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def network_file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of network file system that a folder is on; None on a local disk, or where that is not told.

    Args:
        folder: It need not exist yet; then its nearest parent counts.
        mounts: The kernel's table, which only Linux has.
    """
    real = os.path.realpath(folder)
    kind, length = None, -1
    with contextlib.suppress(OSError):
        for line in mounts.read_text(errors="surrogateescape").splitlines():
            mounted = _mount(line)
            # Of two on one point the later one is seen.
            if mounted is not None and _is_below(real, mounted[0]) and len(mounted[0]) >= length:
                kind, length = mounted[1], len(mounted[0])
    is_network = kind in _NETWORK or (kind or "").startswith(_NETWORK_FUSE)
    return kind if is_network else None


def _mount(line: str) -> tuple[str, str] | None:
    """Mount point and type of a line (proc_pid_mountinfo(5)): fields, ``-``, type, source, options."""
    before, separator, after = line.partition(" - ")
    fields = before.split(" ")
    if not separator or len(fields) < 5:
        return None
    point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4])
    return point, after.split(" ")[0]


def _is_below(path: str, point: str) -> bool:
    return point in (path, "/") or path.startswith(f"{point}/")
