"""Files that the daemon may delete any moment, held for as long as a film is made of them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from backend.errors import StorageError
from backend.utils.file_ops import scratch_folder, sweep_temporaries

log = logging.getLogger(__name__)


@contextlib.contextmanager
def held(paths: Sequence[Path], output: Path) -> Iterator[dict[Path, Path]]:
    """Second names for files, under which they stay until the block ends; they take no space.

    Args:
        paths: The files.
        output: The folder on whose disk they lie.

    Yields:
        Where each file is found now; those that are gone already are left out. Where the disk knows no
        links, or the folder is not ours to write to, the files themselves are given, unheld.
    """
    sweep_temporaries(output)
    with contextlib.ExitStack() as stack:
        try:
            places = dict(_linked(paths, stack.enter_context(scratch_folder(output, "export"))))
        except (OSError, StorageError) as error:
            log.info("what the film is made of may be deleted meanwhile: %s", error)
            places = {path: path for path in paths}
        yield places


def _linked(paths: Sequence[Path], folder: Path) -> Iterator[tuple[Path, Path]]:
    for path in paths:
        link = folder / path.name
        with contextlib.suppress(FileNotFoundError):  # its time was over
            os.link(path, link)
            yield path, link
