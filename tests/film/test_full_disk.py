"""A disk that really fills while a film is made, where a machine lets us mount a small one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_MOUNT = "mount -t tmpfs -o size=500k none {0} && exec {1} -m tests.film.test_full_disk {0}"


def test_a_film_on_a_disk_that_fills_is_given_up_whole_and_the_next_one_fits(tmp_path: Path) -> None:
    tried = ["unshare", "-rm", "sh", "-c", _MOUNT.format(tmp_path, sys.executable)]
    try:
        done = subprocess.run(tried, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr


def fill_and_look(folder: Path) -> None:
    """Within a namespace of its own: first by the disk alone, then with the guard before it."""
    import numpy as np
    from PIL import Image

    from backend.errors import StorageError
    from backend.film.formats import format_of
    from backend.film.stills import Still
    from backend.film.writers import Words, writing

    noise = np.random.default_rng(0)

    class Noise:
        """Pictures that cannot be compressed."""

        seconds = 30.0

        def __iter__(self):  # type: ignore[no-untyped-def]
            for _ in range(300):
                yield Still(Image.fromarray(noise.integers(0, 255, (96, 128, 3), dtype=np.uint8)), 0.1)

    words = Words("Noise", "", "")

    def write(name: str) -> None:
        with writing(folder / name, format_of(folder / name), (128, 96), 10.0, words) as writer:
            for still in Noise():
                writer.add(still.picture)

    for name in ("film.mp4", "film.webm", "film.webp", "film"):
        with pytest.raises(StorageError) as refused:
            write(name)
        assert refused.value.full, refused.value
        assert list(folder.iterdir()) == []
    give_up_in_time(folder, Noise(), words)


def give_up_in_time(folder: Path, source: object, words: object) -> None:
    """The guard stops before a write fails, so that whoever else writes there has room."""
    import shutil

    from backend.errors import StorageError
    from backend.film import export as module
    from backend.film.formats import format_of

    least = []

    class Looking(module.DiskGuard):
        def look(self) -> None:
            least.append(shutil.disk_usage(folder).free)
            super().look()

    module.DiskGuard = Looking  # type: ignore[misc]
    module._LOOK_EVERY = 1
    wishes = module.Wishes(fps=10.0, size=(128, 96))
    target = folder / "film.webp"
    with pytest.raises(StorageError, match="nearly full") as refused:
        module.export(source, target, format_of(target), wishes, words, reserve_bytes=10**9)  # type: ignore[arg-type]
    assert refused.value.full
    assert least[-1] > 0
    assert list(folder.iterdir()) == []


if __name__ == "__main__":
    fill_and_look(Path(sys.argv[1]))
