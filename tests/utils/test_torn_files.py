"""Files that are read while they are written, by many at once: whole at every instant."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest

from backend.utils.file_ops import link_atomic, write_atomic
from tests.utils.test_file_ops import names


def whole(data: bytes) -> bool:
    """Our test files repeat one byte and say their own length in the first eight."""
    return len(data) == int(data[:8]) and len(set(data[8:])) == 1


def made(n: int) -> bytes:
    size = 5_000 + n * 97 % 60_000
    return f"{size:08d}".encode() + bytes([n % 251]) * (size - 8)


def read_flat_out(path: str, reads: int, torn: Any) -> None:
    for _ in range(reads):
        if not whole(Path(path).read_bytes()):
            with torn.get_lock():
                torn.value += 1


def read_while_written(path: Path, reads_each: int) -> int:
    """Four reader processes against one writer; the number of torn reads."""
    write_atomic(path, made(0))
    context = multiprocessing.get_context("spawn")
    torn = context.Value("i", 0)
    readers = [context.Process(target=read_flat_out, args=(str(path), reads_each, torn)) for _ in range(4)]
    for reader in readers:
        reader.start()
    n = 0
    while any(reader.is_alive() for reader in readers):
        n += 1
        write_atomic(path, made(n))
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    assert n > 0
    return int(torn.value)


def test_four_reader_processes_see_no_torn_file_in_2000_reads(tmp_path: Path) -> None:
    assert read_while_written(tmp_path / "file", 500) == 0


@pytest.mark.long
def test_four_reader_processes_see_no_torn_file_in_100000_reads(tmp_path: Path) -> None:
    assert read_while_written(tmp_path / "file", 25_000) == 0


def test_a_linked_name_is_never_missing_and_never_torn(tmp_path: Path) -> None:
    sources = [tmp_path / f"{n}.png" for n in range(8)]
    for n, source in enumerate(sources):
        source.write_bytes(made(n))
    path = tmp_path / "current.png"
    link_atomic(sources[0], path)
    torn: list[int] = []

    def read() -> None:
        torn.extend(n for n in range(500) if not whole(path.read_bytes()))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    n = 0
    while any(reader.is_alive() for reader in readers):
        n += 1
        link_atomic(sources[n % 8], path)
    assert torn == []


def test_many_threads_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    writers = [
        threading.Thread(target=lambda k=k: [write_atomic(path, made(k * 50 + n)) for n in range(50)])  # type: ignore[misc]
        for k in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert whole(path.read_bytes())
    assert names(tmp_path) == ["file"]
