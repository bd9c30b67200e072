from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import main
from backend.cli import exit_codes
from backend.errors import StorageError
from tests.film.pictures import SIZE, decoded
from tests.film.test_kept_frames import show
from tests.film.test_rendering import circle

Export = Callable[..., int]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Export]:
    """Runs the command in this process, on a dream whose folders are empty at first."""
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps({"storage": {"output": "output", "status": "status"}, "display": {"fps": 10}})
    )
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.chdir(tmp_path)
    kept = signal.getsignal(signal.SIGTERM)
    yield lambda *words: main.main(["--config", str(config), "export", *words])
    signal.signal(signal.SIGTERM, kept)


def test_the_last_frames_become_a_film(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path / "output", 30)
    assert export("--last", "2s", "--fps", "20", "film.mp4") == 0
    assert len(decoded(tmp_path / "film.mp4")) == 40
    assert "film.mp4: 40 frames, 2.0 s" in capsys.readouterr().out


def test_of_a_picture_that_lasts_no_more_is_taken_than_is_asked_for(export: Export, tmp_path: Path) -> None:
    show(tmp_path / "output", 4, duration_s=2.0)
    assert export("--last", "3s", "--fps", "10", "film.mp4") == 0
    assert len(decoded(tmp_path / "film.mp4")) == 30


def test_a_folder_holds_the_frames_themselves(export: Export, tmp_path: Path) -> None:
    show(tmp_path / "output", 12)
    assert export("frames") == 0
    assert [frame.size for frame in decoded(tmp_path / "frames")] == [SIZE] * 12


def test_odd_sides_lose_a_line_in_a_film(export: Export, tmp_path: Path) -> None:
    show(tmp_path / "output", 3)
    for path in (tmp_path / "output" / "frames").iterdir():
        path.write_bytes(_odd())
    assert export("film.mp4") == 0
    assert decoded(tmp_path / "film.mp4")[0].size == (62, 48)


def _odd() -> bytes:
    from tests.film.pictures import encoded, moving

    return encoded(moving(0, (63, 49)))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["film.avi"], "ends in .mp4"),
        (["--size", "641x480", "film.mp4"], "640x480"),
        (["--last", "1m", "--from", "21:00", "film.mp4"], "goes with --to"),
        (["--from", "2026-01-02T10:00", "--to", "2026-01-02T09:00", "film.mp4"], "earlier"),
        (["--from", "2026-01-02T10:00", "film.mp4"], "nothing of that part"),
        (["--frames", "--from", "2026-01-02T10:00", "film.mp4"], "keep_seconds"),
        (["--render", "film.mp4"], "at least two recorded keyframes"),
        (["--decode-fps", "5", "film.mp4"], "are for --render"),
        (["--codec", "vp9", "film.webp"], "for .mp4 and .webm"),
        (["there.mp4"], "--force"),
        ([".mp4"], "nothing before the dot"),
        (["output/.webm"], "nothing before the dot"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    show(tmp_path / "output", 3)
    (tmp_path / "there.mp4").write_text("an older film")
    before = sorted(tmp_path.rglob("*"))
    assert export(*words) == 1
    assert why in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("target", "blamed"),
    [
        ("there.mp4/film.mp4", "there is no there.mp4/film.mp4: there.mp4: no folder"),
        ("there.mp4/below/frames", "there.mp4: no folder"),
        ("nowhere/film.mp4", "nowhere: no folder"),
        ("/proc/nope/film.mp4", "/proc: nothing can be put there"),
        ("x" * 250 + ".mp4", "xx.mp4: File name too long"),
    ],
)
def test_a_place_where_nothing_can_be_put_is_named_before_any_picture_is_looked_at(
    export: Export,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    blamed: str,
) -> None:
    (tmp_path / "there.mp4").write_text("an older film")
    (tmp_path / "nowhere").symlink_to("gone")
    monkeypatch.setattr("backend.film_assembly.material_of", pytest.fail)
    before = sorted(tmp_path.rglob("*"))
    assert export("--force", target) == exit_codes.STORAGE
    assert blamed in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_colon_in_a_name_is_part_of_the_name(export: Export, tmp_path: Path) -> None:
    show(tmp_path / "output", 3)
    for name in ("dream-21:30.mp4", "file:dream.webm", "dream:21.webp"):
        assert export(name) == 0
        assert len(decoded(tmp_path / name)) > 1


@pytest.mark.parametrize(
    "words",
    [
        ["--last", "soon", "film.mp4"],
        ["--last", "0", "film.mp4"],
        ["--from", "25:00", "film.mp4"],
        ["--size", "large", "film.mp4"],
        ["--size", "8x8", "film.mp4"],
        ["--fps", "nan", "film.mp4"],
        ["--fps", "0", "film.mp4"],
        ["--quality", "101", "film.webp"],
        ["--codec", "mpeg1", "film.mp4"],
        ["--frames", "--render", "film.mp4"],
        [],
    ],
)
def test_words_without_sense_are_explained(
    export: Export, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        export(*words)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_nothing_kept_is_said(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("film.mp4") == 1
    assert "neither frames nor keyframes" in capsys.readouterr().err


def test_a_film_that_is_there_is_replaced_with_force(export: Export, tmp_path: Path) -> None:
    show(tmp_path / "output", 3)
    (tmp_path / "film.mp4").write_text("an older film")
    assert export("--force", "film.mp4") == 0
    assert len(decoded(tmp_path / "film.mp4")) == 9


def test_keyframes_of_another_model_are_not_decoded_to_noise(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded under SD 1.5; now the embedded engine paints."""
    from backend import film_assembly
    from tests.fakes.memory_engine import MemoryEngine

    engine = MemoryEngine()
    engine.connect()
    monkeypatch.setattr(film_assembly, "_engine", lambda *_: engine)
    circle(tmp_path / "output" / "keyframes")
    assert export("--render", "--last", "10s", "film.mp4") == 1
    assert "are of others, or broken" in capsys.readouterr().err
    assert engine.sent == []
    assert not (tmp_path / "film.mp4").exists()


def test_ctrl_c_leaves_nothing_half(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show(tmp_path / "output", 3)
    _stop_early(monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    assert export("--fps", "200", "film.mp4") == 130
    assert "stopped; there is no film.mp4" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("fails", "status", "said"),
    [(False, 130, "stopped; film.mp4 is as it was"), (True, 74, "film.mp4 is as it was: film.mp4: full")],
)
def test_an_older_film_is_said_to_be_as_it_was(
    export: Export,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fails: bool,
    status: int,
    said: str,
) -> None:
    show(tmp_path / "output", 3)
    (tmp_path / "film.mp4").write_text("an older film")
    _stop_early(monkeypatch, StorageError(Path("film.mp4"), OSError(28, "full")) if fails else None)
    assert export("--force", "--fps", "200", "film.mp4") == status
    assert said in capsys.readouterr().err
    assert (tmp_path / "film.mp4").read_text() == "an older film"


def _stop_early(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    looks = iter([None, None])

    def look(_: object) -> None:
        try:
            next(looks)
        except StopIteration:
            raise error or KeyboardInterrupt from None

    monkeypatch.setattr("backend.film.disk_guard.DiskGuard.look", look)
