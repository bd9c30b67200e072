from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image

from backend.errors import ExportRefused, StorageError
from backend.film.formats import CODECS, Format, Kind, format_of, kind_of
from backend.film.writers import Words, writing
from tests.film.pictures import SIZE, decoded, difference, moving

WORDS = Words("A night", "themes: sea\n<waves> & “foam” 🌊", "2026-01-02T03:04:05.000000Z")


def write(film: Path, count: int = 24, fps: float = 24.0, format: Format | None = None) -> None:
    with writing(film, format or format_of(film), SIZE, fps, WORDS) as writer:
        for place in range(count):
            writer.add(moving(place))


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.webp", "film"])
def test_a_film_has_every_frame_in_order_and_looks_like_its_pictures(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    frames = decoded(tmp_path / name)
    assert len(frames) == 24
    for place, frame in enumerate(frames):
        assert frame.size == SIZE
        assert difference(frame, moving(place)) < 5.0
        assert difference(frame, moving(place)) < 0.5 * difference(frame, moving(place + 4))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("codec", "ending"), [("h265", "mp4"), ("av1", "mp4"), ("vp9", "mp4"), ("av1", "webm")]
)
def test_each_codec_can_be_asked_for(tmp_path: Path, codec: str, ending: str) -> None:
    film = tmp_path / f"film.{ending}"
    try:
        format = format_of(film, codec)
    except ExportRefused as error:
        pytest.skip(str(error))
    write(film, 6, format=format)
    with av.open(str(film)) as container:
        assert container.streams.video[0].codec.canonical_name == {"h265": "hevc"}.get(codec, codec)
    assert len(decoded(film)) == 6


@pytest.mark.parametrize("fps", [10.0, 23.976, 30.0])
def test_a_film_tells_its_rate_its_colours_and_its_words(tmp_path: Path, fps: float) -> None:
    film = tmp_path / "film.mp4"
    write(film, 30, fps)
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate or 0) == pytest.approx(fps, rel=1e-4)
        assert float((stream.duration or 0) * stream.time_base) == pytest.approx(30 / fps, rel=1e-3)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
        assert container.metadata["title"] == WORDS.title
        assert container.metadata["comment"] == WORDS.comment
        assert container.metadata["creation_time"].startswith("2026-01-02T03:04:05")


def test_players_can_begin_before_an_mp4_is_there_whole(tmp_path: Path) -> None:
    write(tmp_path / "film.mp4")
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_webp_plays_for_ever_at_its_rate_and_tells_its_words(tmp_path: Path) -> None:
    film = tmp_path / "film.webp"
    write(film, 30, fps=7.0)
    with Image.open(film) as image:
        assert (image.n_frames, image.info["loop"]) == (30, 0)
        total = 0
        for number in range(30):
            image.seek(number)
            image.load()
            total += image.info["duration"]
        assert total == round(30_000 / 7)
        xmp = image.info["xmp"].decode()
    assert "A night" in xmp
    assert "&lt;waves&gt; &amp; “foam” 🌊" in xmp


def test_a_folder_tells_what_its_pictures_are(tmp_path: Path) -> None:
    write(tmp_path / "film", 3, fps=12.5)
    facts = json.loads((tmp_path / "film" / "film.json").read_text())
    assert facts == {"fps": 12.5, "width": 64, "height": 48, "frames": 3, **vars(WORDS)}
    assert difference(decoded(tmp_path / "film")[2], moving(2)) == 0.0


def break_off(film: Path, fault: BaseException) -> None:
    with writing(film, format_of(film), SIZE, 24, WORDS) as writer:
        for place in range(40):
            writer.add(moving(place))
        raise fault


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.webp", "film"])
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), ValueError("a bad frame")])
def test_what_breaks_off_leaves_the_old_film_and_nothing_else(
    tmp_path: Path, name: str, fault: BaseException
) -> None:
    write(tmp_path / name, 3)
    before = [difference(frame, moving(0)) for frame in decoded(tmp_path / name)]
    with pytest.raises(type(fault)):
        break_off(tmp_path / name, fault)
    assert [difference(frame, moving(0)) for frame in decoded(tmp_path / name)] == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["film.mp4", "film.webp", "film"])
def test_a_whole_film_replaces_the_old_one(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, 3)
    write(tmp_path / name, 5)
    assert len(decoded(tmp_path / name)) == 5
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["film.mp4", "film.webp", "film"])
def test_a_folder_that_cannot_be_had_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError):
        write(tmp_path / "file" / name)


def test_the_ending_decides_what_is_written(tmp_path: Path) -> None:
    kinds = {name: kind_of(Path(name)) for name in ("a.mp4", "a.WEBM", "b.webp", "frames")}
    assert list(kinds.values()) == [Kind.MP4, Kind.WEBM, Kind.WEBP, Kind.FOLDER]
    (tmp_path / "v1.2").mkdir()
    assert kind_of(tmp_path / "v1.2") is Kind.FOLDER


@pytest.mark.parametrize(
    ("name", "wishes", "why"),
    [
        ("a.avi", {}, "ends in .mp4, .webm or .webp"),
        ("a.webm", {"codec": "h264"}, "a .webm can have vp9, av1"),
        ("a.mp4", {"crf": 52}, "from 0 .* to 51"),
        ("a.mp4", {"quality": 80}, "--crf"),
        ("a", {"quality": 80}, "PNGs lose nothing"),
        ("a.webp", {"crf": 20}, "for .mp4 and .webm"),
        ("a", {"codec": "h264"}, "for .mp4 and .webm"),
    ],
)
def test_what_does_not_go_together_is_refused(name: str, wishes: dict[str, object], why: str) -> None:
    with pytest.raises(ExportRefused, match=why):
        format_of(Path(name), **wishes)  # type: ignore[arg-type]


def test_another_codec_is_taken_where_the_best_cannot_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.film.formats._can_encode", lambda encoder: encoder == "libaom-av1")
    assert format_of(Path("a.mp4")).encoder == "libaom-av1"
    monkeypatch.setattr("backend.film.formats._can_encode", lambda encoder: False)
    with pytest.raises(ExportRefused, match="cannot encode h264 or av1 or vp9"):
        format_of(Path("a.mp4"))


@pytest.mark.parametrize(
    ("name", "size", "why"), [("a.mp4", (641, 480), "640x480"), ("a.webp", (20000, 10), "16383")]
)
def test_sizes_that_a_format_cannot_have_are_refused(name: str, size: tuple[int, int], why: str) -> None:
    with pytest.raises(ExportRefused, match=why):
        format_of(Path(name)).check_size(size)


def test_better_quality_is_larger(tmp_path: Path) -> None:
    sizes = []
    for crf in (10, 40):
        film = tmp_path / f"{crf}.mp4"
        write(film, format=format_of(film, crf=crf))
        sizes.append(film.stat().st_size)
    assert sizes[0] > 1.5 * sizes[1]
    assert set(CODECS) == {"h264", "h265", "vp9", "av1"}


def test_what_an_encoder_cannot_do_is_told(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    with pytest.raises(ExportRefused, match=r"another --codec or --size"):
        write_large(film)
    assert list(tmp_path.iterdir()) == []


def write_large(film: Path) -> None:
    """H.264 knows no sides beyond 16384 pixels."""
    with writing(film, format_of(film), (32_768, 16), 24.0, WORDS) as writer:
        writer.add(Image.new("RGB", (32_768, 16)))
