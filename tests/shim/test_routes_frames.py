from __future__ import annotations

import hashlib
import io
import os

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.shim.stand_in import StandIn, picture


def test_the_current_frame_is_the_newest_shown(client: TestClient) -> None:
    answer = client.get("/api/frame/current")
    assert answer.content == picture(3)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{hashlib.sha256(picture(3)).hexdigest()}"'
    assert answer.headers["cache-control"] == "no-cache"


def test_a_frame_never_changes_and_says_so(client: TestClient) -> None:
    answer = client.get("/api/frames/2")
    assert answer.content == picture(2)
    assert "immutable" in answer.headers["cache-control"]
    again = client.get("/api/frames/2", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "first", "last"), [("bytes=0-9", 0, 10), ("bytes=20-", 20, None), ("bytes=-5", -5, None)]
)
def test_a_part_of_a_frame_can_be_had(client: TestClient, asked: str, first: int, last: int | None) -> None:
    answer = client.get("/api/frames/1", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == picture(1)[first:last]
    assert answer.headers["content-range"].endswith(f"/{len(picture(1))}")


@pytest.mark.parametrize("asked", ["bytes=5-2", "pages=1-2", "bytes=0-1,4-5", "bytes=-", "nonsense"])
def test_a_range_that_makes_no_sense_gives_the_whole(client: TestClient, asked: str) -> None:
    answer = client.get("/api/frames/1", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, picture(1))


def test_a_range_beyond_the_end_is_refused(client: TestClient) -> None:
    answer = client.get("/api/frames/1", headers={"Range": "bytes=9999999-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(picture(1))}"


def test_a_range_of_another_picture_than_one_has_gives_the_whole(client: TestClient) -> None:
    headers = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert client.get("/api/frames/1", headers=headers).content == picture(1)


@pytest.mark.parametrize(
    "number", ["999", "0", "-1", "1e3", "1" * 40, "..", "%2e%2e", "1/../../status/token"]
)
def test_what_is_no_frame_is_not_found_and_no_path_is_told(
    client: TestClient, daemon: StandIn, number: str
) -> None:
    answer = client.get(f"/api/frames/{number}")
    assert answer.status_code in (404, 422)
    assert str(daemon.output.parent) not in answer.text
    assert answer.json()["status"] == "error"


def test_frames_of_every_format_keep_their_type(client: TestClient, daemon: StandIn) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(picture(9))).save(file, "WEBP")
    daemon.show(file.getvalue(), suffix=".webp")
    assert client.get("/api/frames/4").headers["content-type"] == "image/webp"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_are_served(client: TestClient, daemon: StandIn, kind: str) -> None:
    path = daemon.output / "frames" / "000000050.png"
    secret = daemon.output.parent / "secret"
    secret.write_text("secret")
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert client.get("/api/frames/50").status_code == 404


def test_heads_are_answered_without_a_body(client: TestClient) -> None:
    answer = client.head("/api/frames/1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(picture(1))
