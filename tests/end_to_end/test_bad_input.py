"""Settings, folders and servers that are no good: what main.py says of them, and what stays whole."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.daemon import MAIN, command, daemon, is_whole, write_config
from tests.fakes.fake_comfy import FakeComfy

pytestmark = pytest.mark.timeout(240)

THEMES = MAIN.parent / "prompts"


def write(folder: Path, text: str) -> None:
    (folder / "config.yaml").write_text(text)


def themes(folder: Path, **files: str) -> None:
    (folder / "themes").mkdir()
    for name, text in files.items():
        (folder / "themes" / f"{name}.yaml").write_text(text)
    write(folder, "prompts:\n  folder: themes\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dream: {mode: [\n", ["config.yaml:2: syntax"]),
        ("dream:\n\tmode: hybrid\n", ["config.yaml:2: syntax", "indent with spaces"]),
        ("- dream\n", ["config.yaml:1", "sections like dream:"]),
        ("dream: 7\n", ["config.yaml:1: dream = 7", "keys of this section", "denoise"]),
        ("dream:\n  size: 100x101\n", ["config.yaml:2: dream.size = 100x101", "divisible by 8"]),
        ("dream:\n  denoise: yes\n", ["config.yaml:2: dream.denoise = yes", "a number from 0.05 to 1"]),
        ("dream:\n  seconds_per_keyframe: 1:00\n", ["seconds_per_keyframe = 1:00", "from 0.5 to 600"]),
        ("dream:\n  steps: 4\n  steps: 7\n", ["config.yaml:3: dream.steps = 7", "line 2"]),
        ("displey:\n  fps: 10\n", ["config.yaml:1: displey", "did you mean display?"]),
        ("display:\n  fsp: 10\n", ["config.yaml:2: display.fsp = 10", "did you mean display.fps?"]),
        ("comfyui:\n  url: ftp://x\n", ["config.yaml:2: comfyui.url = ftp://x", "http://host:port"]),
        ("prompts:\n  folder: nowhere\n", ["nowhere", "prompts.folder", "one YAML file a theme"]),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_its_line_its_value_and_a_wish(
    tmp_path: Path, text: str, said: list[str]
) -> None:
    write(tmp_path, text)
    refused(tmp_path, 78, *said)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "dream:\n  mode: 5\n  size: 7\ndisplay:\n  fps: [1]\n  fpss: 1\n")
    refused(tmp_path, 78, ":2: dream.mode", ":3: dream.size", ":5: display.fps", ":6: display.fpss")


def test_a_theme_that_is_empty_or_wrong_is_named(tmp_path: Path) -> None:
    themes(
        tmp_path,
        empty="",
        silent="name: silent\npositive: []\n",
        twice="positive: [a]\npositive: [b]\nweigth: 3\nnegative: 3\n",
    )
    said = [
        "empty.yaml:1: file",
        "silent.yaml",
        "at least one prompt",
        "twice.yaml:2",
        "did you mean weight?",
    ]
    refused(tmp_path, 78, *said)


def refused(folder: Path, exit_status: int, *said: str) -> None:
    ran = command(folder, "run", "--frames", "1")
    assert ran.returncode == exit_status, ran.stderr
    for words in said:
        assert words in ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout


def test_an_output_that_is_a_file_is_refused_by_the_name_of_its_setting(tmp_path: Path) -> None:
    write_config(tmp_path, storage={"output": "taken"})
    (tmp_path / "taken").write_text("mine")
    refused(tmp_path, 74, "storage.output", str(tmp_path / "taken"), "may write to")
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_output_without_permission_is_refused_by_the_name_of_its_setting(tmp_path: Path) -> None:
    write_config(tmp_path, storage={"output": "closed"})
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    with daemon(tmp_path, prefix=without_privileges(closed)) as running:
        assert running.process.wait(60) == 74
    said = running.log.read_text()
    for words in ("storage.output", str(closed), "Permission denied", "may write to"):
        assert words in said
    assert "Traceback" not in said
    assert list(closed.iterdir()) == []


def without_privileges(closed: Path) -> list[str]:
    """The words that start a command for which a closed folder is closed, even to root."""
    try:
        (closed / "probe").touch()
    except PermissionError:
        return []
    (closed / "probe").unlink()
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    try:
        tried = subprocess.run([*words, "test", "-w", str(closed)], capture_output=True, check=False)
    except OSError as error:
        pytest.skip(f"permissions mean nothing to root, and no setpriv gives it up: {error}")
    if tried.returncode != 1:
        pytest.skip("permissions mean nothing to root here")
    return words


def test_what_was_made_stays_whole_when_the_settings_are_broken_later(
    tmp_path: Path, fake_comfy: FakeComfy
) -> None:
    write_config(tmp_path, comfyui={"url": fake_comfy.url})
    assert command(tmp_path, "run", "--frames", "5").returncode == 0
    made = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in (".png", ".json")}
    assert len(made) >= 6
    write(tmp_path, "dream:\n  denoise: 7\n")
    refused(tmp_path, 78)
    for path, data in made.items():
        assert path.read_bytes() == data


# Servers


class _Html(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<!doctype html><title>It works!</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Html) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(20)


def test_an_address_of_something_that_is_no_comfyui_is_said_to_be_so(tmp_path: Path) -> None:
    with web_server() as url:
        write_config(tmp_path, comfyui={"url": url})
        with daemon(tmp_path) as running:
            told = running.wait_for(lambda now: now["reason"]["code"] == "engine_error")
            assert url in told["reason"]["sentence"]
            assert "is comfyui.url the address of a ComfyUI?" in told["reason"]["sentence"]
            assert told["state"] == "remembering"
            assert told["status"] == "error"
            assert told["comfyui_status"] == "unreachable"
            assert told["frame"]["kind"] == "title"
            assert is_whole(running.frame_of(told))
            assert running.end() == 0
            assert "Traceback" not in running.log.read_text()


def test_a_checkpoint_that_the_server_lacks_is_named_with_the_nearest_and_waited_for(tmp_path: Path) -> None:
    with FakeComfy(
        tmp_path / "comfy", checkpoints=["dreamshaper_8.safetensors", "other.safetensors"]
    ) as fake:
        wished = "dreamshaper_9.safetensors"
        write_config(tmp_path, comfyui={"url": fake.url, "checkpoint": wished})
        with daemon(tmp_path) as running:
            told = running.wait_for(lambda now: now["reason"]["code"] == "model_missing")
            for words in (wished, "did you mean 'dreamshaper_8.safetensors'?", "comfyui.checkpoint"):
                assert words in told["reason"]["sentence"]
            later = running.wait_for(lambda now: now["uptime_s"] > told["uptime_s"] + 2)
            assert later["state"] == "remembering"
            assert later["comfyui_status"] == "running"
            assert is_whole(running.frame_of(later))
            assert not fake.posted("/prompt")
            fake.set_checkpoints(["dreamshaper_8.safetensors", wished])
            dreaming = running.wait_for(lambda now: now["dream"]["in_betweens"] > 0)
            assert dreaming["engine"]["checkpoint"] == wished
            assert dreaming["reason"]["code"] == "ok"
            assert running.end() == 0
            assert "Traceback" not in running.log.read_text()
