from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.cache.memory_row import Origin
from backend.cache.seeds import covering
from backend.errors import PictureRejected, StorageError
from tests.cache.memories import axis, open_memory, picture

SIZE = (64, 32)


def _half_red_half_blue(size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, "blue")
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1]))
    return image


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _bomb(width: int, height: int) -> bytes:
    """A PNG that promises more than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_a_circle_stays_a_circle_when_it_is_cropped_to_cover() -> None:
    side = 300
    rows, columns = np.mgrid[:side, : side * 3]
    disc = ((rows - side / 2) ** 2 + (columns - side * 1.5) ** 2 < 60**2).astype(np.uint8) * 255
    covered = _decoded(covering(_encoded(Image.fromarray(disc).convert("RGB"), "PNG"), (128, 128)))
    inside = np.asarray(covered)[:, :, 0] > 127
    assert covered.size == (128, 128)
    assert abs(int(inside.any(axis=0).sum()) - int(inside.any(axis=1).sum())) <= 1


def test_the_middle_is_what_is_kept() -> None:
    covered = np.asarray(_decoded(covering(_encoded(_half_red_half_blue((400, 100)), "PNG"), (50, 50))))
    assert covered[25, 10, 0] > 200
    assert covered[25, 40, 2] > 200


def test_a_picture_lying_on_its_side_is_put_upright_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    covered = np.asarray(
        _decoded(covering(_encoded(_half_red_half_blue((200, 200)), "JPEG", exif=exif, quality=95), (50, 50)))
    )
    assert covered[5, 25, 0] > 200  # what was left is above
    assert covered[45, 25, 2] > 200


def test_what_shines_through_a_picture_is_black() -> None:
    covered = np.asarray(
        _decoded(covering(_encoded(Image.new("RGBA", (40, 40), (255, 255, 255, 0)), "PNG"), SIZE))
    )
    assert covered.max() == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_mode_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert (
        _decoded(
            covering(
                _encoded(
                    _half_red_half_blue((90, 70)).convert("L").convert(mode)
                    if mode != "I;16"
                    else Image.new("I;16", (90, 70), 40_000),
                    kind,
                ),
                SIZE,
            )
        ).size
        == SIZE
    )


def test_a_folder_of_pictures_is_taken_and_what_is_none_is_told_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    whole = _encoded(_half_red_half_blue((90, 70)), "JPEG")
    (folder / "a.jpg").write_bytes(whole)
    (folder / "b.webp").write_bytes(_encoded(_half_red_half_blue((70, 90)).rotate(90), "WEBP"))
    (folder / "cut.png").write_bytes(_encoded(_half_red_half_blue((90, 70)), "PNG")[:-60])
    (folder / "bomb.png").write_bytes(_bomb(50_000, 50_000))
    (folder / "large.png").write_bytes(_bomb(12_000, 12_000))
    (folder / "words.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "folder.png").mkdir()
    (folder / "same.jpg").write_bytes(whole)
    (folder / "notes.txt").write_text("not looked at")
    (folder / ".hidden.jpg").write_bytes(whole)
    with open_memory(tmp_path / "memory") as memory:
        report = memory.import_pictures(folder, SIZE)
        assert len(report.added) == 2
        assert {name for name, _ in report.reasons} == {
            *("cut.png", "bomb.png", "large.png", "words.png", "empty.png", "folder.png", "same.jpg")
        }
        assert dict(report.reasons)["same.jpg"] == "known"
        rows = [memory.get(one) for one in report.added]
        assert all(row is not None and row.origin is Origin.SEED for row in rows)
        assert {(row.width, row.height) for row in rows if row is not None} == {SIZE}
        assert sorted(memory.needs_embedding(9)) == sorted(report.added)
        assert memory.check().whole


@pytest.mark.parametrize(("colour", "why"), [((240, 240, 238), "flat: "), ((0, 0, 0), "black: ")])
def test_a_picture_that_a_display_would_refuse_is_refused_as_a_seed_by_name(
    tmp_path: Path, colour: tuple[int, int, int], why: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "paper.png").write_bytes(_encoded(Image.new("RGB", (100, 60), colour), "PNG"))
    (folder / "scene.png").write_bytes(picture(1, (100, 60)))
    with open_memory(tmp_path / "memory") as memory:
        report = memory.import_pictures(folder, SIZE)
    assert len(report.added) == 1
    ((name, reason),) = report.reasons
    assert name == "paper.png"
    assert reason.startswith(why)


def test_seeds_are_judged_where_a_matcher_is_at_hand(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.png")):
        (folder / name).write_bytes(picture(number, (90, 70)))

    def judge(pictures: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([axis(3)] * len(pictures)), np.full(len(pictures), 0.625, np.float32)

    with open_memory(tmp_path / "memory") as memory:
        report = memory.import_pictures(folder, SIZE, judge)
        assert (len(report.added), report.reasons) == (1, (("b.png", "too similar"),))
        assert memory.nearest(axis(3), 1) == [(report.added[0], 1.0)]
        row = memory.get(report.added[0])
        assert row is not None
        assert (row.score, row.pinned) == (0.625, False)
        pinned = memory.import_pictures(folder, SIZE, judge, pinned=True)
        assert len(pinned.added) == 1


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with open_memory(tmp_path / "memory") as memory, pytest.raises(StorageError):
        memory.import_pictures(tmp_path / "nowhere", SIZE)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(PictureRejected, match="bomb"):
        covering(_bomb(12_000, 12_000), SIZE)
