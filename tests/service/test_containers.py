"""There is no engine here to build images with; so what can be read of them is read."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.cli.status import add_parser
from backend.config import Settings, load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = ("Dockerfile", "comfyui.Dockerfile")
KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL"} | {
    "USER",
    "VOLUME",
    "WORKDIR",
}
SERVICE_KEYS = {
    "build",
    "image",
    "command",
    "depends_on",
    "stop_grace_period",
    "read_only",
    "tmpfs",
    "ports",
} | {
    "volumes",
    "expose",
    "deploy",
    "restart",
    "init",
    "cap_drop",
    "security_opt",
    "logging",
}


def instructions(name: str) -> list[tuple[str, str]]:
    """The words of a Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in (DEPLOY / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line.strip()]


def of(name: str, word: str) -> list[str]:
    return [rest for found, rest in instructions(name) if found == word]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def ignored(path: str) -> bool:
    """As docker reads .dockerignore: the last rule that fits decides."""
    found = False
    for rule in (ROOT / ".dockerignore").read_text().split():
        if not rule.startswith("#"):
            pattern = rule.removeprefix("!")
            if fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path.split("/", maxsplit=1)[0], pattern):
                found = not rule.startswith("!")
    return found


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_made_of_known_words_and_runs_as_nobody_special(name: str) -> None:
    words = [word for word, _ in instructions(name)]
    assert set(words) <= KNOWN
    assert words[0] == "FROM"
    (base,) = of(name, "FROM")
    assert re.fullmatch(r"[a-z]+:[0-9][\w.-]+", base), "a version, never what happens to be the latest"
    (user,) = of(name, "USER")
    assert user not in ("root", "0")
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert any(f"useradd --uid 1000 --create-home {user}" in run for run in of(name, "RUN"))
    for form in ("ENTRYPOINT", "CMD"):
        for written in of(name, form):
            assert all(isinstance(word, str) for word in json.loads(written)), "no shell in between"


def test_what_is_copied_is_there_and_reaches_the_engine() -> None:
    for copied in of("Dockerfile", "COPY"):
        for source in shlex.split(copied)[:-1]:
            assert (ROOT / source).exists(), source
            assert not ignored(source), source
    for private in (".git", ".venv", "output", "status", "deploy"):
        assert ignored(private), private


def test_the_health_check_is_a_command_that_there_is() -> None:
    (check,) = of("Dockerfile", "HEALTHCHECK")
    command = json.loads(check[check.index("CMD") + 4 :])
    assert command == ["python", "main.py", "status", "--check"]
    import argparse

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    assert parser.parse_args(command[2:]).check


def environment_of_the_image() -> dict[str, str]:
    pairs = (word.split("=", 1) for line in of("Dockerfile", "ENV") for word in shlex.split(line))
    return dict(pairs)  # type: ignore[arg-type]


def test_the_settings_beside_it_are_right_within_the_image() -> None:
    image = environment_of_the_image()
    environ = {name: image[name] for name in image if name.startswith("DREAMLOOP_")}
    settings: Settings = load_settings(DEPLOY / "dream" / "config.yaml", environ).settings
    assert settings.storage.output == Path("/data/output")
    assert settings.prompts.folder == Path("/app/prompts")
    assert settings.comfyui.url == "http://comfyui:8188"
    assert of("Dockerfile", "EXPOSE") == [str(settings.shim.port)]
    assert of("comfyui.Dockerfile", "EXPOSE") == ["8188"]


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for mount in service.get("volumes", []):
        source, target = mount.split(":")[:2]
        yield source, target


def test_the_composition_names_only_what_is_there() -> None:
    told = compose()
    assert set(told) <= {"name", "services", "volumes", "x-bounded"}
    for name, service in told["services"].items():
        assert set(service) <= SERVICE_KEYS, name
        context = (DEPLOY / service["build"]["context"]).resolve()
        assert (context / service["build"]["dockerfile"]).is_file(), name
        for other in service.get("depends_on", []):
            assert other in told["services"]
        for source, target in mounts(service):
            assert target.startswith("/")
            if source.startswith("."):
                assert (DEPLOY / source).resolve().is_dir(), source
            else:
                assert source in told["volumes"], source


def test_the_composition_is_bounded_and_closed() -> None:
    for name, service in compose()["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "open to the network only if somebody wishes it"
    dreamloop = compose()["services"]["dreamloop"]
    written = [target for _, target in mounts(dreamloop)]
    assert dreamloop["read_only"]
    for name, value in environment_of_the_image().items():
        if value.startswith("/"):
            assert any(value.startswith(target) for target in written), name
    assert dreamloop["command"][:2] == ["--config", "/config/config.yaml"]
