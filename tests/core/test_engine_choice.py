from __future__ import annotations

import pytest

from backend.core.engine import EngineKind
from backend.core.engine_choice import DEFAULT_URL, choose_engine


def test_auto_takes_a_local_comfyui_that_has_a_model() -> None:
    choice = choose_engine(None, lambda url: ("sd15.safetensors",))
    assert (choice.kind, choice.url) == (EngineKind.COMFYUI, DEFAULT_URL)


def test_auto_without_a_comfyui_dreams_by_itself_and_says_so_plainly() -> None:
    choice = choose_engine(None, lambda url: ())
    assert (choice.kind, choice.url) == (EngineKind.EMBEDDED, None)
    assert "embedded engine" in choice.note
    assert "no diffusion model" in choice.note


def test_an_address_that_was_given_is_never_replaced() -> None:
    choice = choose_engine("http://studio:8188", lambda url: pytest.fail("nobody is asked"))
    assert (choice.kind, choice.url) == (EngineKind.COMFYUI, "http://studio:8188")


def test_a_comfyui_that_is_to_be_started_is_waited_for_at_its_address() -> None:
    choice = choose_engine(None, lambda url: pytest.fail("nobody is asked"), launches=True)
    assert (choice.kind, choice.url) == (EngineKind.COMFYUI, DEFAULT_URL)
    assert "started" in choice.note
    assert (
        choose_engine("http://127.0.0.1:9000", lambda url: (), launches=True).url == "http://127.0.0.1:9000"
    )
