from __future__ import annotations

from pathlib import Path

import pytest

from backend.config import Settings, load_settings, written
from backend.config_lists import AdapterWish, read_command, read_headers, read_names
from backend.errors import ConfigError, Problem

SECRET = "Bearer 8f3a-very-secret"


def load_text(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "config.yaml").write_text(text, "utf-8")
    return load_settings(folder / "config.yaml", environ).settings


def only_problem(folder: Path, text: str, **environ: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text, **environ)
    assert len(caught.value.problems) == 1, str(caught.value)
    return caught.value.problems[0]


def test_adapters_keep_their_order_and_their_options(tmp_path: Path) -> None:
    (tmp_path / "mask.png").touch()
    adapters = load_text(
        tmp_path,
        "dream:\n  adapters:\n    - lora: style/ink.safetensors\n      strength: 0.8\n    - clip_skip: 2\n"
        "    - lora: 123\n    - inpaint: mask.png\n      method: conditioning\n    - detail: 1.5\n",
    ).dream.adapters
    assert adapters == (
        AdapterWish("lora", "style/ink.safetensors", (("strength", 0.8),)),
        AdapterWish("clip_skip", 2),
        AdapterWish("lora", "123"),
        AdapterWish("inpaint", tmp_path / "mask.png", (("method", "conditioning"),)),
        AdapterWish("detail", 1.5),
    )
    assert adapters[0].option("strength") == 0.8
    assert adapters[0].option("clip_strength") is None


@pytest.mark.parametrize(
    ("items", "wish"),
    [
        ("{lora: a}", "a list of adapters"),
        ("[lora]", "item 1 begins with a kind of adapter"),
        ("[{}]", "item 1 begins with a kind of adapter"),
        ("[{strength: 1, lora: a}]", "item 1 begins with a kind of adapter ('strength' is none)"),
        ("[{clip_skip: 2}, {lara: a}]", "item 2 begins with a kind of adapter ('lara' is none)"),
        ("[{lora: ../../x}]", "item 1 (lora), lora = '../../x': a name as ComfyUI lists it"),
        ("[{lora: /etc/passwd}]", "inside its models folder"),
        ("[{lora: 'C:\\x'}]", "inside its models folder"),
        ("[{lora: a, strength: 90}]", "strength = '90': a number from -10 to 10"),
        ("[{lora: a, strength: [1]}]", "one value, no list"),
        ("[{lora: a, strenght: 1}]", "has no 'strenght'; it takes strength, clip_strength"),
        ("[{clip_skip: 2.5}]", "a whole number from 1 to 24"),
        ("[{clip_skip: 2, strength: 1}]", "it takes nothing more"),
        ("[{controlnet: a}]", "item 1 (controlnet) needs image"),
        ("[{inpaint: nowhere.png}]", "a picture file that is there"),
        ("[{outpaint: 64, feather: .nan}]", "a whole number from 0 to 1024"),
    ],
)
def test_an_adapter_that_is_wrong_is_told_with_its_place_and_a_wish(
    tmp_path: Path, items: str, wish: str
) -> None:
    problem = only_problem(tmp_path, f"dream:\n  adapters: {items}\n")
    assert (problem.line, problem.key) == (2, "dream.adapters")
    assert wish in problem.wish


def test_the_method_of_an_inpaint_is_one_of_two(tmp_path: Path) -> None:
    (tmp_path / "mask.png").touch()
    problem = only_problem(tmp_path, "dream:\n  adapters: [{inpaint: mask.png, method: magic}]\n")
    assert "one of noise_mask, conditioning" in problem.wish


def test_a_command_is_a_list_or_what_a_shell_would_take(tmp_path: Path) -> None:
    as_list = load_text(
        tmp_path, "comfyui:\n  launch:\n    - /opt/my comfy/python\n    - --port\n    - 8188\n"
    )
    assert as_list.comfyui.launch == ("/opt/my comfy/python", "--port", "8188")
    as_text = load_text(tmp_path, "comfyui:\n  launch: python 'a b/main.py' --port 8188\n")
    assert as_text.comfyui.launch == ("python", "a b/main.py", "--port", "8188")
    assert load_text(tmp_path, "", DREAMLOOP_COMFYUI__LAUNCH="[a, b]").comfyui.launch == ("a", "b")
    for bad in ("python 'a", '["a\\0b"]', "[[a]]", "[''] "):
        with pytest.raises(ValueError, match=r"command|words|NUL"):
            read_command(bad)


def test_names_are_names_inside_the_models_folder() -> None:
    assert read_names("clip_l.safetensors") == ("clip_l.safetensors",)
    assert read_names("[a/b.safetensors, 'c d.gguf']") == ("a/b.safetensors", "c d.gguf")
    with pytest.raises(ValueError, match="inside its models folder"):
        read_names("[a, ../b]")


def test_headers_reach_whoever_sends_them_and_nobody_else(tmp_path: Path) -> None:
    text = f"comfyui:\n  headers: {{Authorization: {SECRET}, X-Number: 12}}\n"
    settings = load_text(tmp_path, text)
    assert settings.comfyui.headers.as_dict() == {"Authorization": SECRET, "X-Number": "12"}
    for told in (repr(settings), str(settings.comfyui), str(written(settings))):
        assert SECRET not in told
    assert "Authorization" in written(settings)["comfyui.headers"]


@pytest.mark.parametrize(
    ("headers", "wish"),
    [
        (f"[{SECRET}]", "headers like"),
        (f"{{'Auth orization': {SECRET}}}", "may not"),
        (f"{{Host: {SECRET}}}", "'Host' may not"),
        (f"{{A: [{SECRET}]}}", "one line of text as the value of A"),
        (f'{{A: "{SECRET}\\r\\nB: c"}}', "one line of text as the value of A"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_without_their_values(
    tmp_path: Path, headers: str, wish: str
) -> None:
    problem = only_problem(tmp_path, f"comfyui:\n  headers: {headers}\n")
    assert wish in problem.wish
    assert SECRET not in str(problem)
    with pytest.raises(ValueError, match=r"header|one line"):
        read_headers(headers)


def test_what_is_shown_of_a_list_can_be_read_again(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        "comfyui: {launch: [python, 'a b'], text_encoders: [x.safetensors]}\n"
        "dream: {adapters: [{lora: a, strength: -0.5}, {tiled_vae: 512}]}\n",
    )
    environ = {f"DREAMLOOP_{k.replace('.', '__').upper()}": v for k, v in written(settings).items()}
    assert load_settings(None, environ).settings == settings
