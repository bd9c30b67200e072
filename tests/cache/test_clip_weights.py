"""Where weights come from; a hub of our own on loopback, nothing leaves this machine."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from backend.cache.clip_weights import FILE, ClipChoice, local_weights, weights_of
from backend.errors import MatcherUnfit

REPOSITORY = "someone/some-clip"
CONTENT = bytes(range(256)) * 20_000


class _Hub(BaseHTTPRequestHandler):
    """As huggingface.co: the answer before the redirect tells size and SHA-256."""

    sha256: ClassVar[str] = ""
    sent: ClassVar[bytes] = CONTENT
    size: ClassVar[str | None] = None
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        if self.path == f"/{REPOSITORY}/resolve/main/{FILE}":
            self.send_response(302)
            self.send_header("Location", "/cdn/blob")
            self.send_header("X-Linked-ETag", f'"{self.sha256}"')
            if self.size is not None:
                self.send_header("X-Linked-Size", self.size)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/cdn/blob":
            self.send_response(200)
            if self.size is not None:
                self.send_header("Content-Length", self.size)
            self.end_headers()
            if body:
                self.wfile.write(self.sent)
            self.close_connection = True
        else:
            self.send_error(404)

    def log_message(self, *_args: object) -> None:
        """Quietly."""


@pytest.fixture
def hub() -> Iterator[str]:
    _Hub.sha256, _Hub.sent, _Hub.size = hashlib.sha256(CONTENT).hexdigest(), CONTENT, str(len(CONTENT))
    _Hub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whatever the machine's own cache holds is not looked at."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf" / "hub"


@pytest.fixture
def choice(tmp_path: Path) -> ClipChoice:
    return ClipChoice(weights=REPOSITORY, folder=tmp_path / "kept", may_download=True)


def test_nothing_is_asked_for_unless_it_is_allowed(hub: str, choice: ClipChoice) -> None:
    with pytest.raises(
        MatcherUnfit, match=f"{REPOSITORY} are not on this machine and downloading is not allow"
    ):
        weights_of(replace(choice, may_download=False), hub=hub)
    assert local_weights(choice) is None
    assert _Hub.asked == []


def test_a_download_tells_what_and_how_much_before_it_begins_and_how_far_it_is(
    hub: str, choice: ClipChoice, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "backend.cache.clip_weights"):
        file = weights_of(choice, hub=hub)
    assert file.read_bytes() == CONTENT
    assert file.parent == choice.folder
    first, *between, last = [record.getMessage() for record in caplog.records]
    assert f"downloading CLIP's weights once: {hub}/{REPOSITORY}" in first
    assert "5.1 MB" in first
    assert len(between) >= 4
    assert all("of 5.1 MB" in told for told in between)
    assert str(file) in last


def test_what_was_downloaded_once_is_not_asked_for_again(hub: str, choice: ClipChoice) -> None:
    first = weights_of(choice, hub=hub)
    _Hub.asked.clear()
    assert weights_of(choice, hub=hub) == first == local_weights(choice)
    assert _Hub.asked == []


@pytest.mark.parametrize(
    ("sha256", "sent", "why"),
    [
        ("0" * 64, CONTENT, "came damaged"),
        (hashlib.sha256(CONTENT).hexdigest(), CONTENT[:-1] + b"?", "came damaged"),
        (hashlib.sha256(CONTENT).hexdigest(), CONTENT[: len(CONTENT) // 2], "broke off after 2"),
    ],
    ids=["another file", "a byte changed", "cut off"],
)
def test_a_download_that_came_damaged_leaves_nothing(
    hub: str, choice: ClipChoice, sha256: str, sent: bytes, why: str
) -> None:
    _Hub.sha256, _Hub.sent = sha256, sent
    with pytest.raises(MatcherUnfit, match=why):
        weights_of(choice, hub=hub)
    assert list(choice.folder.iterdir()) == []


def test_a_download_of_unknown_size_does_not_begin(hub: str, choice: ClipChoice) -> None:
    _Hub.size = None
    with pytest.raises(MatcherUnfit, match="does not tell how large it is"):
        weights_of(choice, hub=hub)
    assert not any(line.startswith("GET") for line in _Hub.asked)


def test_a_download_larger_than_the_disk_does_not_begin(hub: str, choice: ClipChoice) -> None:
    _Hub.size = str(10**18)
    with pytest.raises(MatcherUnfit, match="has room for"):
        weights_of(choice, hub=hub)
    assert not any(line.startswith("GET") for line in _Hub.asked)


def test_a_hub_that_is_away_or_knows_nothing_is_told(hub: str, choice: ClipChoice) -> None:
    with pytest.raises(MatcherUnfit, match=r"nobody/nothing.* cannot be downloaded"):
        weights_of(replace(choice, weights="nobody/nothing"), hub=hub)
    with pytest.raises(MatcherUnfit, match="cannot be downloaded"):
        weights_of(choice, hub="http://127.0.0.1:9")


def test_what_another_program_downloaded_is_found(no_cache: Path, choice: ClipChoice) -> None:
    file = no_cache / "models--someone--some-clip" / "snapshots" / "abc" / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert local_weights(choice) == file


def test_the_usual_model_has_weights_that_are_known_and_others_must_name_theirs() -> None:
    import open_clip

    for model in ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-H-14"):
        known = [
            open_clip.get_pretrained_cfg(model, tag) for tag in open_clip.list_pretrained_tags_by_model(model)
        ]
        usual = {one["hf_hub"] for one in known if one.get("mean") == open_clip.OPENAI_DATASET_MEAN}
        assert f"{ClipChoice(model=model).source}/" in usual
    assert ClipChoice().source == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    with pytest.raises(MatcherUnfit, match="no weights are known for CLIP RN50"):
        weights_of(ClipChoice(model="RN50"))


@pytest.mark.parametrize("name", ["../../nowhere/else", "a/b/c", "a//b", "https://x/y", "a/../b", ".ssh/id"])
def test_what_is_no_repository_is_no_way_out_of_the_folder(choice: ClipChoice, name: str) -> None:
    odd = replace(choice, weights=name)
    with pytest.raises(MatcherUnfit):
        weights_of(odd, hub="http://127.0.0.1:9")


def test_a_file_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    missing = ClipChoice(weights=str(tmp_path / "nothing.safetensors"), may_download=True)
    with pytest.raises(MatcherUnfit, match=r"there is no file .*nothing\.safetensors"):
        weights_of(missing)
