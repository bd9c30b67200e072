"""The engine's three folders, and the rules for names that come from outside."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER_TYPES = ("input", "output", "temp")

_COUNTERS_KEPT = 256
_EMPTIED_KEPT = 64
_MAX_NAME_BYTES = 240


class BadName(ValueError):  # noqa: N818 - reads better in the execution_error that reports it
    """A file name that would lead out of its folder."""


@dataclass(frozen=True)
class SavedFile:
    """Where an output node put something, as clients are told."""

    filename: str
    subfolder: str
    type: str

    def as_json(self) -> dict[str, str]:
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.type}


class Folders:
    """``input``, ``output`` and ``temp`` below one root; ``temp`` is emptied when the engine starts."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._counters: OrderedDict[tuple[Path, str, str], int] = OrderedDict()
        self._emptied: deque[Path] = deque()
        self._lock = threading.Lock()
        shutil.rmtree(self.root / "temp", ignore_errors=True)
        for folder_type in FOLDER_TYPES:
            (self.root / folder_type).mkdir(parents=True, exist_ok=True)

    def folder(self, folder_type: str) -> Path:
        """The folder of that type; KeyError for any other word."""
        if folder_type not in FOLDER_TYPES:
            raise KeyError(folder_type)
        return self.root / folder_type

    def inside(self, folder_type: str, *parts: str) -> Path:
        """The path ``parts`` below a folder, symbolic links resolved; BadName if it would leave it."""
        base = self.folder(folder_type)
        if any("\0" in part or len(part.encode(errors="replace")) > 4 * _MAX_NAME_BYTES for part in parts):
            raise BadName(f"not a usable file name below {folder_type}")
        path = base.joinpath(*parts).resolve()
        if not path.is_relative_to(base):
            raise BadName(f"{'/'.join(parts)!r} leads out of the {folder_type} folder")
        return path

    def find(self, annotated: str) -> Path | None:
        """The existing file that ``sub/name.ext`` or ``name.ext [output]`` means; input by default."""
        name, folder_type = split_annotation(annotated)
        try:
            path = self.inside(folder_type or "input", name)
        except BadName:
            return None
        return path if path.is_file() else None

    def listing(self, folder_type: str) -> list[str]:
        """Names of the files at the top of a folder, sorted."""
        with os.scandir(self.folder(folder_type)) as entries:
            return sorted(entry.name for entry in entries if entry.is_file() and entry.name[0] != ".")

    def save_next(self, folder_type: str, prefix: str, suffix: str, data: bytes) -> SavedFile:
        """Writes ``<prefix>_00001_<suffix>``, or the next number that is free.

        Raises:
            BadName: The prefix leads out of the folder.
        """
        path = self._next_path(folder_type, prefix, suffix)
        write_whole(path, data)
        subfolder = path.parent.relative_to(self.folder(folder_type)).as_posix()
        return SavedFile(path.name, "" if subfolder == "." else subfolder, folder_type)

    def emptied(self, path: Path) -> None:
        """Somebody overwrote a file with nothing, which is how clients get rid of it.

        Of such files only the newest few are kept, so that days of dreaming do not fill a folder with them.
        """
        with self._lock:
            self._emptied.append(path)
            oldest = self._emptied.popleft() if len(self._emptied) > _EMPTIED_KEPT else None
        if oldest is not None and oldest.is_file() and oldest.stat().st_size == 0:
            oldest.unlink(missing_ok=True)

    def _next_path(self, folder_type: str, prefix: str, suffix: str) -> Path:
        subfolder, _, stem = prefix.replace("\\", "/").rpartition("/")
        folder = self.inside(folder_type, subfolder)
        self.inside(folder_type, subfolder, stem + suffix)
        folder.mkdir(parents=True, exist_ok=True)
        key = (folder, stem, suffix)
        with self._lock:
            number = self._counters.pop(key, None) or highest_number(folder, stem, suffix)
            number += 1
            self._counters[key] = number
            if len(self._counters) > _COUNTERS_KEPT:
                self._counters.popitem(last=False)
        return folder / f"{stem}_{number:05}_{suffix}"


def split_annotation(name: str) -> tuple[str, str | None]:
    """``("a.png", "input")`` of ``"a.png [input]"``; None where nothing is said."""
    for folder_type in FOLDER_TYPES:
        mark = f"[{folder_type}]"
        if name.endswith(mark):
            return name[: -len(mark)].rstrip(" "), folder_type
    return name, None


def highest_number(folder: Path, stem: str, suffix: str) -> int:
    """The highest number used by ``<stem>_<number>_<suffix>``, 0 if none is."""
    pattern = re.compile(re.escape(stem) + r"_(\d+)_" + re.escape(suffix))
    return max((int(match[1]) for match in _matches(folder, pattern)), default=0)


def _matches(folder: Path, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if match := pattern.fullmatch(entry.name):
                yield match


def write_whole(path: Path, data: bytes) -> None:
    """Writes so that a reader of the same name sees the old bytes or the new ones, never half of them."""
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
