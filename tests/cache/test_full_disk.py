"""A disk that is really full, where a machine lets us mount a small one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_MOUNT = "mount -t tmpfs -o size=3m none {0} && exec {1} -m tests.cache.test_full_disk {0}"


def test_a_full_disk_refuses_new_memories_keeps_old_ones_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    tried = ["unshare", "-rm", "sh", "-c", _MOUNT.format(tmp_path, sys.executable)]
    try:
        done = subprocess.run(tried, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201


def fill_and_look(folder: Path) -> None:
    """Within a namespace of its own."""
    from backend.errors import StorageError
    from tests.cache.memories import GUARD_S, added, axis, new, open_memory

    with open_memory(folder, durable=True) as memory:
        kept: list[str] = []
        refused = 0
        assert memory.wait_ready(GUARD_S)
        for number in range(400):
            one = new(number, axis(number % 8), latent=bytes([number % 256]) * 20_000, pinned=True)
            try:
                kept.append(added(memory, one))
            except StorageError as error:
                refused += error.full
        assert refused == 400 - len(kept)
        assert len(kept) > 20
        assert {row.id for row in memory.iterate(0, 1000)} == set(kept)
        assert memory.check().whole, memory.check().findings
        for one_id in kept[:10]:
            assert memory.forget(one_id)
        added(memory, new(1000, pinned=True))
        assert len(memory.make_room(1)) == 0
        assert memory.pin(kept[10], False)
        assert memory.make_room(1) == (kept[10],)
        assert memory.check().whole
    with open_memory(folder, durable=True) as memory:
        assert memory.size == len(kept) - 10
        assert memory.check().whole


if __name__ == "__main__":
    fill_and_look(Path(sys.argv[1]))
