from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend.assembly import open_engine
from backend.cli import doctor
from backend.config import load_settings
from tests.fakes import comfy_program
from tests.fakes.fake_comfy import FakeComfy, free_port

PROMPTS = Path(__file__).resolve().parents[2] / "prompts"


class Told:
    """What the doctor printed: check -> its line, and the sentence at the end."""

    def __init__(self, output: str) -> None:
        lines = output.splitlines()
        self.rows = {line[5:23].strip(): line for line in lines if line.startswith(("ok ", "FAIL "))}
        self.end = lines[-1]

    def failed(self) -> list[str]:
        return [name for name, line in self.rows.items() if line.startswith("FAIL")]


def examined(
    folder: Path, capsys: pytest.CaptureFixture[str], url: str, more: str = "", **sections: str
) -> tuple[int, Told]:
    text = f"comfyui: {{url: '{url}'{more}}}\nprompts: {{folder: '{PROMPTS}'}}\n"
    text += "storage: {output: out, status: st}\n"
    text += "".join(f"{name}: {keys}\n" for name, keys in sections.items())
    (folder / "config.yaml").write_text(text, "utf-8")
    for name in ("out", "st"):
        (folder / name).mkdir(exist_ok=True)
    status = doctor.run(load_settings(folder / "config.yaml", {}).settings, open_engine)
    return status, Told(capsys.readouterr().out)


def test_a_server_with_everything_passes_every_check(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = examined(tmp_path, capsys, fake_comfy.url, dream="{size: 64x64}")
    assert status == 0, told.rows
    assert list(told.rows) == [
        "prompts",
        "output folder",
        "status folder",
        "reachable",
        "model",
        "nodes",
        "node pack",
        "test picture",
        "dream step",
        "socket",
        "warm path",
        "VAE round trip",
        "in-betweens",
        "housekeeping",
    ]
    assert "decoded by engine" in told.rows["in-betweens"]
    assert "not installed" in told.rows["node pack"]
    assert "64x64" in told.rows["test picture"]
    assert "nothing is loaded or encoded twice" in told.rows["warm path"]
    assert "all is well" in told.end


def test_a_decoder_that_cannot_be_used_is_told_with_its_reason(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = {"dream": "{size: 64x64}", "interpolation": "{tiny_vae: taesd}"}
    status, told = examined(tmp_path, capsys, fake_comfy.url, **wish)
    assert status == 0, told.rows
    assert "decoded by engine" in told.rows["in-betweens"]
    assert "taesd is not used" in told.rows["in-betweens"]


def test_our_own_nodes_are_tried_where_they_are(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_comfy.give_pack()
    status, told = examined(tmp_path, capsys, fake_comfy.url, dream="{size: 64x64}")
    assert status == 0, told.rows
    assert "version 1" in told.rows["node pack"]
    assert "3 frames" in told.rows["streamed walk"]
    assert fake_comfy.pack.decoded == [0, 1, 2]


def test_nodes_of_ours_that_are_too_old_are_named_and_not_needed(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_comfy.pack.versions = (0, 0)
    fake_comfy.give_pack()
    status, told = examined(tmp_path, capsys, fake_comfy.url, dream="{size: 64x64}")
    assert status == 0, told.rows
    assert "too old" in told.rows["node pack"]
    assert "streamed walk" not in told.rows


def test_whoever_examines_every_day_leaves_no_more_names_than_the_first_time(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str]
) -> None:
    def names(kind: str) -> set[str]:
        folder = tmp_path / "fake-comfy" / kind
        return {str(path.relative_to(folder)) for path in folder.glob("*/*" if kind == "output" else "*")}

    left = []
    for _ in range(2):
        assert examined(tmp_path, capsys, fake_comfy.url, dream="{size: 64x64}")[0] == 0
        left.append((names("output"), names("temp")))
    assert left[0] == left[1]
    assert all(left[0])


def test_without_a_server_the_embedded_engine_is_examined_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.core.engine_choice.DEFAULT_URL", f"http://127.0.0.1:{free_port()}")
    status, told = examined(tmp_path, capsys, "auto", dream="{size: 64x64}")
    assert status == 0, told.rows
    assert "dreamloop-embedded" in told.rows["reachable"]
    assert "nothing grows" in told.rows["housekeeping"]


def test_nobody_at_the_address_ends_with_what_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = examined(tmp_path, capsys, f"http://127.0.0.1:{free_port()}")
    assert status == 1
    assert told.failed() == ["reachable"]
    assert "start ComfyUI there" in told.end
    assert "comfyui.url" in told.end


def launched(port: int, *habits: str) -> str:
    return ", launch: " + json.dumps(
        [sys.executable, "-S", comfy_program.__file__, "--port", str(port), *habits]
    )


def test_a_comfyui_of_ours_is_waited_for_until_it_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.assembly._COMFYUI_START_S", 0.0)
    port = free_port()
    _, told = examined(tmp_path, capsys, f"http://127.0.0.1:{port}", launched(port))
    assert told.rows["reachable"].startswith("ok"), told.rows


def test_a_comfyui_of_ours_that_does_not_start_is_told_with_its_words_and_its_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    status, told = examined(tmp_path, capsys, f"http://127.0.0.1:{port}", launched(port, "crashes"))
    assert status == 1
    assert told.failed() == ["reachable"]
    assert "No module named 'torch'" in told.rows["reachable"]
    assert "comfyui.launch" in told.end


def test_a_missing_model_is_named_with_the_nearest_and_where_to_put_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeComfy(tmp_path / "fake", checkpoints=["dreamshaper_8.safetensors"]) as fake:
        status, told = examined(tmp_path, capsys, fake.url, ", checkpoint: dreamshaper8.safetensors")
    assert status == 1
    assert told.failed() == ["model"]
    assert "did you mean 'dreamshaper_8.safetensors'" in told.rows["model"]
    assert "models/checkpoints" in told.end


def test_a_node_that_the_server_lacks_is_named(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_comfy.lose_node("SaveImageWebsocket")
    status, told = examined(tmp_path, capsys, fake_comfy.url)
    assert status == 1
    assert "SaveImageWebsocket" in told.rows["model"]
    assert "update ComfyUI" in told.end


def test_something_else_at_the_address_is_told_apart(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_comfy.fault("GET", "/system_stats", body="<html>hello</html>")
    status, told = examined(tmp_path, capsys, fake_comfy.url)
    assert status == 1
    assert told.failed() == ["reachable"]
    assert "address of a ComfyUI" in told.end


def test_black_pictures_are_a_fault_of_the_test_picture(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_comfy.painter.spoil = "black"
    status, told = examined(tmp_path, capsys, fake_comfy.url, dream="{size: 64x64}")
    assert status == 1
    assert told.failed() == ["test picture"]


@pytest.mark.parametrize("mode", ["txt2img", "img2img", "hybrid"])
def test_a_folder_that_is_on_this_machine_is_found_in_every_mode(
    tmp_path: Path, fake_comfy: FakeComfy, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    folders = {"vae": [str(tmp_path / "fake-comfy" / "output" / "vae")]}
    fake_comfy.fault("GET", "/internal/folder_paths", body=json.dumps(folders))
    status, told = examined(tmp_path, capsys, fake_comfy.url, dream=f"{{size: 64x64, mode: {mode}}}")
    assert status == 0, told.rows
    assert "nothing grows" in told.rows["housekeeping"]


def test_a_family_that_there_is_not_is_refused_by_its_key(tmp_path: Path) -> None:
    from backend.errors import ConfigError

    (tmp_path / "config.yaml").write_text("comfyui: {family: SDXXL}\n")
    settings = load_settings(tmp_path / "config.yaml", {}).settings
    with ExitStack() as stack, pytest.raises(ConfigError, match=r"comfyui.family = SDXXL: .*SDXL"):
        open_engine(settings, stack)
