from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.core import current_frame
from backend.core.current_frame import CurrentFrame
from backend.errors import StorageError
from backend.utils.file_ops import write_atomic
from backend.utils.picture_formats import Encoding, pixels_of
from tests.fakes.memory_engine import picture


class ByHand(CurrentFrame):
    """Its thread is the test."""

    def _start(self) -> None:
        pass


@pytest.fixture
def current(tmp_path: Path) -> ByHand:
    return ByHand(tmp_path / "current_frame.png")


def jpeg(seed: int) -> bytes:
    return Encoding("jpeg").encode(pixels_of(picture(seed)))


def kept(folder: Path, data: bytes) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.frame"
    path.write_bytes(data)
    return path


def show(current: CurrentFrame, data: bytes, format: str) -> None:
    current.show(kept(current.path.parent, data), data, format)


def shown(current: CurrentFrame) -> bytes:
    return current.path.read_bytes()


def test_a_png_is_the_current_frame_at_once_and_takes_no_space(current: ByHand) -> None:
    show(current, picture(1), "png")
    assert shown(current) == picture(1)
    assert current.path.stat().st_nlink == 2


def test_the_first_frame_of_another_format_is_there_at_once_too(current: ByHand) -> None:
    show(current, jpeg(1), "jpeg")
    assert np.array_equal(pixels_of(shown(current)), pixels_of(jpeg(1)))
    assert shown(current).startswith(b"\x89PNG")


def test_of_those_that_come_meanwhile_only_the_newest_is_made_a_png(
    current: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(current, picture(0), "png")
    made: list[bytes] = []
    monkeypatch.setattr(current_frame, "to_png", lambda data: made.append(data) or picture(9))
    for seed in range(1, 5):
        show(current, jpeg(seed), "jpeg")
    assert shown(current) == picture(0)
    assert current.turn()
    assert not current.turn()
    assert made == [jpeg(4)]


def test_an_older_picture_never_comes_after_a_newer_one(current: ByHand) -> None:
    show(current, picture(0), "png")
    show(current, jpeg(1), "jpeg")
    show(current, picture(2), "png")  # which could be linked at once, were nothing waiting
    while current.turn():
        pass
    assert shown(current) == picture(2)


def test_what_the_disk_refused_meanwhile_is_told_with_the_next_frame_and_once(
    current: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(current, picture(0), "png")

    def full(path: Path, data: bytes) -> None:
        raise StorageError(path, OSError(28, "no space left"))

    monkeypatch.setattr(current_frame, "write_atomic", full)
    show(current, jpeg(1), "jpeg")
    current.turn()
    with pytest.raises(StorageError, match="no space left"):
        show(current, jpeg(2), "jpeg")
    monkeypatch.setattr(current_frame, "write_atomic", write_atomic)
    current.turn()
    show(current, jpeg(3), "jpeg")
    current.turn()
    assert np.array_equal(pixels_of(shown(current)), pixels_of(jpeg(3)))
