from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from backend.interpolation.latent_encoder import read_latents
from comfyui_nodes.latent_store import LatentStore, read_latent, write_latent


def latent(seed: int, *, size: int = 4) -> torch.Tensor:
    return torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(seed))


class Shelf:
    """A store over a folder, with a latent saved and kept under each name."""

    def __init__(self, folder: Path, **limits: int) -> None:
        self.folder = folder
        self.store = LatentStore(lambda name: folder / name, **limits)

    def save(self, name: str, seed: int, *, size: int = 4) -> None:
        write_latent(self.folder / name, latent(seed, size=size))
        self.store.keep(name, latent(seed, size=size))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_what_is_written_is_what_the_daemon_and_comfyui_read(tmp_path: Path) -> None:
    write_latent(tmp_path / "sub" / "a.latent", latent(1).to(torch.float16))
    expected = latent(1).to(torch.float16).to(torch.float32)
    assert torch.equal(read_latents((tmp_path / "sub" / "a.latent").read_bytes()), expected)
    assert torch.equal(read_latent(tmp_path / "sub" / "a.latent"), expected)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.latent"]


def test_a_file_of_an_old_comfyui_is_scaled_as_loadlatent_scales_it(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(save({"latent_tensor": latent(1)}))
    assert torch.allclose(read_latent(tmp_path / "old"), latent(1) / 0.18215)


@pytest.mark.parametrize("data", [b"", b"not a latent", save({"other": torch.zeros(1)})])
def test_a_file_that_is_no_latent_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.latent").write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.latent"):
        read_latent(tmp_path / "bad.latent")


def test_a_kept_latent_needs_its_file_no_more(shelf: Shelf) -> None:
    shelf.save("a", 1)
    (shelf.folder / "a").write_bytes(b"")  # the daemon empties what is spent
    assert torch.equal(shelf.store.load("a"), latent(1))
    (shelf.folder / "a").unlink()
    assert torch.equal(shelf.store.load("a"), latent(1))
    assert shelf.store.stamp("a") is not None


def test_a_restarted_server_reads_the_file(shelf: Shelf) -> None:
    shelf.save("a", 1)
    assert torch.equal(Shelf(shelf.folder).store.load("a"), latent(1))


def test_a_file_that_others_changed_is_read_anew(shelf: Shelf) -> None:
    shelf.save("a", 1)
    before = shelf.store.stamp("a")
    write_latent(shelf.folder / "a", latent(2))
    os.utime(shelf.folder / "a", ns=(1, 1))
    assert shelf.store.stamp("a") != before
    assert torch.equal(shelf.store.load("a"), latent(2))


def test_what_is_nowhere_has_no_stamp_and_cannot_be_loaded(shelf: Shelf) -> None:
    assert shelf.store.stamp("a") is None
    with pytest.raises(OSError, match="a"):
        shelf.store.load("a")
    (shelf.folder / "a").write_bytes(b"")
    assert shelf.store.stamp("a") is None


def test_what_is_kept_is_a_copy(shelf: Shelf) -> None:
    mine = latent(1)
    write_latent(shelf.folder / "a", mine)
    shelf.store.keep("a", mine)
    mine.zero_()
    assert torch.equal(shelf.store.load("a"), latent(1))


def test_no_more_are_kept_than_may_be_and_the_least_asked_for_goes_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=2)
    shelf.save("a", 1)
    shelf.save("b", 2)
    shelf.store.load("a")
    shelf.save("c", 3)
    assert len(shelf.store) == 2
    (tmp_path / "b").unlink()
    assert shelf.store.stamp("b") is None
    assert shelf.store.stamp("a") is not None


def test_they_take_no_more_bytes_than_they_may_but_the_newest_is_always_kept(tmp_path: Path) -> None:
    one = latent(0).numel() * 4
    shelf = Shelf(tmp_path, most_bytes=3 * one)
    for number in range(10):
        shelf.save(str(number), number)
    assert shelf.store.size_bytes <= 3 * one
    shelf.save("large", 1, size=64)
    assert len(shelf.store) == 1
    (tmp_path / "large").unlink()
    assert torch.equal(shelf.store.load("large"), latent(1, size=64))
