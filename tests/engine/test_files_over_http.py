"""Uploads and views, compared with the recorded answers; and names that try to break out."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.engine.listener import GUARD_S, Listener
from tests.engine.recorded import CHECKPOINTS, recorded
from tests.fakes.fake_comfy import FakeComfy, txt2img

UPLOADS = recorded("uploads")
VIEWS = recorded("view")
LARGE = ("over_100MB", "99MB")


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeComfy]:
    with FakeComfy(tmp_path / "root", checkpoints=CHECKPOINTS) as fake:
        yield fake


def png(shade: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (64, 64), (shade,) * len(mode)).save(buffer, "PNG")
    return buffer.getvalue()


def upload(fake: FakeComfy, name: str, data: bytes, field: str = "image", **form: str) -> requests.Response:
    return requests.post(f"{fake.url}/upload/image", files={field: (name, data)}, data=form, timeout=GUARD_S)


CONTENTS = {"a.png": png(1), "orig.png": png(2)}
SHADES = {"same_name_other_content": 3, "third_content": 4, "identical_to_(1)": 3, "overwrite_true": 5}


def test_uploads_are_answered_as_recorded_in_the_same_order(fake: FakeComfy) -> None:
    for name, case in UPLOADS.items():
        if name in LARGE:
            continue
        asked, expected = case["request"], case["response"]
        data = png(SHADES.get(name, 9 if "capital" in name else 1), "RGBA" if "mask" in name else "RGB")
        if not asked["filename"]:
            continue  # this client leaves an empty file name out of the form
        answer = requests.post(
            fake.url + asked["path"],
            files={asked["field"]: (asked["filename"], data, asked["content_type"])},
            data=asked["form"],
            timeout=GUARD_S,
        )
        assert answer.status_code == expected["status"], name
        if "json" in expected:
            assert answer.json() == expected["json"], name
        else:
            assert answer.text == expected["body"], name


def test_a_body_over_100_mb_is_refused_in_the_recorded_words(fake: FakeComfy) -> None:
    answer = upload(fake, "big.bin", bytes(UPLOADS["over_100MB"]["request"]["bytes"]))
    assert answer.status_code == 413
    assert answer.text == UPLOADS["over_100MB"]["response"]["body"]


def test_views_are_answered_as_recorded(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        client.run(txt2img(CHECKPOINTS[1]))
        deeper = txt2img(CHECKPOINTS[1])
        deeper["7"]["inputs"]["filename_prefix"] = "sub/i2i"
        client.run(deeper)
    for name, data in {"a.png": png(1), "x.latent": bytes(100), "x.txt": b"hello"}.items():
        upload(fake, name, data)
    upload(fake, "html.html", b"<script>", type="output")
    for name, case in VIEWS.items():
        answer = requests.get(f"{fake.url}/view", params=case["query"], timeout=GUARD_S)
        expected = case["response"]
        assert answer.status_code == expected["status"], name
        for header, value in expected["headers"].items():
            assert answer.headers[header] == value, name


def test_a_preview_is_smaller_and_a_channel_is_a_picture_of_its_own(fake: FakeComfy) -> None:
    upload(fake, "a.png", png(77, "RGBA"))

    def view(**query: str) -> Image.Image:
        params = {"filename": "a.png", "type": "input"} | query
        answer = requests.get(f"{fake.url}/view", params=params, timeout=GUARD_S)
        return Image.open(io.BytesIO(answer.content))

    assert view(preview="webp;50").format == "WEBP"
    assert view(preview="jpeg").format == "JPEG"
    assert view(preview="jpeg;70", channel="a").format == "WEBP"
    assert view(channel="rgb").mode == "RGB"
    assert view(channel="a").getpixel((0, 0)) == (0, 0, 0, 77)


def test_ranges_and_etags_work(fake: FakeComfy) -> None:
    upload(fake, "x.txt", b"hello")
    address = f"{fake.url}/view?filename=x.txt&type=input"
    part = requests.get(address, headers={"Range": "bytes=1-2"}, timeout=GUARD_S)
    assert (part.status_code, part.content) == (206, b"el")
    whole = requests.get(address, timeout=GUARD_S)
    same = requests.get(address, headers={"If-None-Match": whole.headers["Etag"]}, timeout=GUARD_S)
    assert same.status_code == 304


@pytest.mark.parametrize("folder_type", ["input", "temp", "output"])
def test_a_spent_file_can_be_emptied_by_overwriting_it(fake: FakeComfy, folder_type: str) -> None:
    upload(fake, "kf.latent", bytes(50), type=folder_type, subfolder="latents")
    answer = upload(fake, "kf.latent", b"", type=folder_type, subfolder="latents", overwrite="true")
    assert answer.json() == {"name": "kf.latent", "subfolder": "latents", "type": folder_type}
    assert (fake._folder / folder_type / "latents" / "kf.latent").stat().st_size == 0


def test_temp_is_empty_after_a_restart_and_the_other_folders_are_not(fake: FakeComfy) -> None:
    for folder_type in ("input", "temp", "output"):
        upload(fake, "x.txt", b"hello", type=folder_type)
    fake.restart()

    def names(folder_type: str) -> Any:
        return requests.get(f"{fake.url}/internal/files/{folder_type}", timeout=GUARD_S).json()

    assert [names(one) for one in ("input", "temp", "output")] == [["x.txt"], [], ["x.txt"]]


@pytest.mark.parametrize(
    "name",
    ["../secret", "..%2fsecret", "....//secret", "/etc/passwd", "a\0b", "x" * 10_000, "link", "pipe", "."],
)
def test_no_name_reads_a_file_outside_the_folders(fake: FakeComfy, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("nobody may read this")
    for folder_type in ("input", "output"):
        folder = fake._folder / folder_type
        (folder / "link").symlink_to(tmp_path / "secret")
        os.mkfifo(folder / "pipe")
        for query in (
            {"filename": name},
            {"filename": "secret", "subfolder": name},
            {"filename": f"{name} [input]"},
        ):
            answer = requests.get(f"{fake.url}/view", params=query | {"type": folder_type}, timeout=GUARD_S)
            assert answer.status_code in (400, 403, 404)
            assert b"nobody" not in answer.content


def test_a_prefix_that_leads_out_fails_when_the_node_runs(fake: FakeComfy, tmp_path: Path) -> None:
    wanted = txt2img(CHECKPOINTS[1])
    wanted["7"]["inputs"]["filename_prefix"] = "../../escaped/x"
    with Listener(fake.url) as client:
        heard = client.run(wanted)
    error = next(message["data"] for message in heard if message.get("type") == "execution_error")
    assert (error["node_id"], error["node_type"]) == ("7", "SaveImage")
    assert sorted(error["executed"]) == ["1", "2", "3", "4", "5", "6"]
    assert not (tmp_path.parent / "escaped").exists()
    assert not (tmp_path / "escaped").exists()


def test_saved_pictures_carry_the_graph_and_what_was_sent_along(fake: FakeComfy) -> None:
    wanted = txt2img(CHECKPOINTS[1], text="ein Käfer 🪲")
    with Listener(fake.url) as client:
        client.run(wanted, extra_data={"extra_pnginfo": {"workflow": {"x": 1}}})
    answer = requests.get(f"{fake.url}/view?filename=t2i_00001_.png", timeout=GUARD_S)
    texts = Image.open(io.BytesIO(answer.content)).info
    assert texts["workflow"] == '{"x": 1}'
    assert "K\\u00e4fer" in texts["prompt"]
