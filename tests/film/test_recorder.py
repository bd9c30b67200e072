from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.core.engine import EngineFacts, EngineKind
from backend.core.generator import Keyframe
from backend.core.model_families import EMBEDDED
from backend.errors import LatentRejected, StorageError
from backend.film.keyframe_files import Told, file_name, keyframe_bytes, list_keyframes, read_keyframe
from backend.film.recorder import Recorder
from backend.interpolation.latent_encoder import read_latents
from backend.utils.picture_check import PictureFacts
from backend.utils.prompt_manager import Prompt

FACTS = EngineFacts(EngineKind.EMBEDDED, "memory://", "1", "cpu", "dreamloop-painter", EMBEDDED)
TOLD = Told("sea", "a quiet sea", "text", 7, 0.45, "embedded", "dreamloop-painter", True)


def keyframe(number: int, parent: int | None = None) -> Keyframe:
    return Keyframe(
        number=number,
        picture=b"",
        facts=PictureFacts(64, 40, "png"),
        latent=None,
        prompt=Prompt("sea", f"wave {number}", "text"),
        seed=number,
        denoise=0.45,
        parent=parent,
        seconds=0.1,
    )


def latent(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def recorder(folder: Path, keep_s: float = 3600.0, budget: int = 10**9, gap_s: float = 4.0) -> Recorder:
    return Recorder(
        folder,
        keep_s=keep_s,
        budget_bytes=budget,
        walks=lambda: True,
        gap_s=lambda: gap_s,
        facts=lambda: FACTS,
        wall=lambda: 1_767_000_000.125,
    )


def record(one: Recorder, *numbers: int) -> None:
    for number in numbers:
        one.offer(keyframe(number), latent(number))
        while one.turn():
            pass


def test_a_keyframe_is_kept_with_its_latent_its_words_and_its_time(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    record(one, 1, 2)
    first, second = list_keyframes(tmp_path)
    assert (first.sequence, second.sequence, second.at, second.gap_s) == (1, 2, 1_767_000_000.125, 4.0)
    tensor, told = read_keyframe(second.path)
    assert torch.allclose(tensor, latent(2), rtol=1e-3, atol=1e-6)
    assert told == Told("sea", "wave 2", "text", 2, 0.45, "embedded", "dreamloop-painter", walks=True)
    assert not read_keyframe(first.path)[1].walks  # the first of a run: nothing leads up to it
    assert (one.recorded().keyframes, one.recorded().seconds) == (2, 8.0)
    assert one.recorded().bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_first_keyframe_that_goes_on_from_an_earlier_run_is_walked_to(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    one.offer(keyframe(1, parent=41), latent(1))
    while one.turn():
        pass
    assert read_keyframe(list_keyframes(tmp_path)[0].path)[1].walks


def test_a_recorded_keyframe_is_a_latent_that_comfyui_reads(tmp_path: Path) -> None:
    record(recorder(tmp_path), 1)
    data = next(tmp_path.iterdir()).read_bytes()
    assert torch.allclose(read_latents(data), latent(1), rtol=1e-3, atol=1e-6)
    assert len(data) < 2 * latent(1).numel() + 1000


def test_numbers_go_on_and_nothing_is_lost_over_a_restart(tmp_path: Path) -> None:
    record(recorder(tmp_path), 1, 2, 3)
    (tmp_path / f".x.latent.{2**31 - 2}.1.tmp").write_bytes(b"of a killed run")
    (tmp_path / "notes.txt").write_text("mine")
    again = recorder(tmp_path)
    record(again, 4)
    assert [one.sequence for one in list_keyframes(tmp_path)] == [1, 2, 3, 4]
    assert again.recorded().keyframes == 4
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".latent") == ["notes.txt"]


def test_the_oldest_go_beyond_the_seconds_and_beyond_the_bytes(tmp_path: Path) -> None:
    record(recorder(tmp_path / "hours", keep_s=12.0), *range(1, 9))
    assert [one.sequence for one in list_keyframes(tmp_path / "hours")] == [6, 7, 8]
    size = len(keyframe_bytes(latent(1), TOLD))
    record(recorder(tmp_path / "bytes", budget=4 * size + size // 2), *range(1, 9))
    assert [one.sequence for one in list_keyframes(tmp_path / "bytes")] == [5, 6, 7, 8]


def test_tighter_limits_hold_from_the_next_start(tmp_path: Path) -> None:
    record(recorder(tmp_path), *range(1, 9))
    again = recorder(tmp_path, keep_s=8.0)
    again.turn()
    assert again.recorded().keyframes == 2


def test_none_are_kept_where_none_are_wished_for(tmp_path: Path) -> None:
    record(recorder(tmp_path), 1, 2)
    off = recorder(tmp_path, keep_s=0.0)
    record(off, 3)
    assert list_keyframes(tmp_path) == []


def test_a_full_disk_gets_the_oldest_eighth_back_and_recording_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = recorder(tmp_path)
    record(one, *range(1, 17))
    write = os.write

    def none(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", none)
    record(one, 17, 18)
    assert one.left_out == 2
    assert [kept.sequence for kept in list_keyframes(tmp_path)] == list(range(6, 17))
    assert len(caplog.records) == 1
    monkeypatch.setattr(os, "write", write)
    record(one, 19)
    assert list_keyframes(tmp_path)[-1].sequence == 17


def test_a_recorder_that_is_behind_leaves_out_the_oldest_and_never_waits(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    for number in range(1, 21):
        one.offer(keyframe(number), latent(number))
    while one.turn():
        pass
    assert one.left_out == 12
    assert read_keyframe(list_keyframes(tmp_path)[-1].path)[1].seed == 20


def test_what_was_offered_is_written_before_the_end(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    one.start()
    for number in range(1, 6):
        one.offer(keyframe(number), latent(number))
    one.stop(timeout_s=30.0)
    assert len(list_keyframes(tmp_path)) == 5


def test_a_folder_that_cannot_be_read_costs_the_recording_only(tmp_path: Path) -> None:
    (tmp_path / "keyframes").write_text("a file where the folder should be")
    one = recorder(tmp_path / "keyframes")
    with pytest.raises(StorageError):
        one.turn()
    record(one, 1)
    assert one.left_out == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 100,
        keyframe_bytes(latent(1), TOLD)[:-9],
        keyframe_bytes(latent(1) * float("nan"), TOLD),
        keyframe_bytes(latent(1), TOLD).replace(b"walks", b"talks"),
        keyframe_bytes(latent(1), replace(TOLD, seed=None)),  # type: ignore[arg-type]
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / file_name(1, 0.0, 4.0)
    path.write_bytes(data)
    with pytest.raises(LatentRejected):
        read_keyframe(path)


def test_values_beyond_half_precision_are_kept_whole(tmp_path: Path) -> None:
    large = latent(1) * 1e6
    path = tmp_path / file_name(1, 0.0, 4.0)
    path.write_bytes(keyframe_bytes(large, TOLD))
    assert torch.equal(read_keyframe(path)[0], large)
