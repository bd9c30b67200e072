from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.config import load_settings
from backend.shim.spec import ShimSpec, token_of
from tests.shim.stand_in import StandIn


def test_a_spec_travels_as_one_line(daemon: StandIn) -> None:
    spec = replace(daemon.spec, cors_origins=("https://wall.example",), upstream="http://studio:8422")
    assert ShimSpec.read(spec.written()) == spec
    assert "\n" not in spec.written()


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("10.0.0.2", True),
        ("studio", True),
    ],
)
def test_whoever_can_be_reached_from_elsewhere_wants_a_token(
    daemon: StandIn, host: str, is_open: bool
) -> None:
    assert replace(daemon.spec, host=host).is_open is is_open


def test_the_settings_say_where_everything_is(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("storage: {output: out, status: st}\nshim: {port: 9000}\n")
    spec = ShimSpec.of(load_settings(path, {}).settings)
    assert (spec.output, spec.memory) == (tmp_path / "out", tmp_path / "out" / "memory")
    assert (spec.token_file, spec.port) == (tmp_path / "st" / "token", 9000)
    path.write_text("memory: {enabled: false}\n")
    assert ShimSpec.of(load_settings(path, {}).settings).memory is None


def test_a_token_is_made_once(tmp_path: Path) -> None:
    token = token_of(tmp_path / "new" / "token")
    assert len(token) >= 32
    assert token_of(tmp_path / "new" / "token") == token


@pytest.mark.parametrize("text", ["", "short", "x" * 600, "two words that are long", "ümlaut" * 5])
def test_a_token_that_cannot_be_one_is_refused_by_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="token"):
        token_of(path)


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 32)
    path.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        token_of(path)
