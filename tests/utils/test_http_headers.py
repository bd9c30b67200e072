from __future__ import annotations

import pytest

from backend.utils.http_headers import Veil, is_sendable, is_settable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Basic dXNlcjpwYXNz"),
        ("X-Team", "a"),
        ("Cookie", 'a="b"; c=d'),
        ("CF-Access-Client-Id", "x.y"),
    ],
)
def test_what_proxies_ask_for_can_be_sent(name: str, value: str) -> None:
    assert is_settable(name)
    assert is_sendable(value)


@pytest.mark.parametrize(
    "name", ["", "A B", "A:", "A\n", "Ä", "x" * 101, "host", "Content-Length", "SEC-WEBSOCKET-Version"]
)
def test_a_name_that_is_none_or_not_the_users_cannot_be_set(name: str) -> None:
    assert not is_settable(name)


@pytest.mark.parametrize(
    "value", ["", " s3c", "s3c ", "s3c\n", "s3c\r\nX: y", "s3c\0", "s3cü", "s3c\ud800", "s3c" * 3000]
)
def test_a_value_that_cannot_travel_is_told_apart(value: str) -> None:
    assert not is_sendable(value)


def test_the_veil_hides_values_and_their_words_but_not_common_ones() -> None:
    veil = Veil({"Authorization": "Bearer s3cr3t-t0ken", "X-Team": "on"})
    assert veil.over("Bearer s3cr3t-t0ken, s3cr3t-t0ken, and so on") == "***, ***, and so on"
