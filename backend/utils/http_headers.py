"""Headers that a person wants sent along, for a proxy: what may be one, and how their values stay unseen."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,8190}[\x21-\x7e])?")
_OURS = {
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_LEAST_SECRET_CHARS = 6
"""Shorter values are too common to be looked for in texts."""


def is_settable(name: str) -> bool:
    """Whether it is the name of a header, and not of one that belongs to the message itself."""
    lower = name.lower()
    return bool(_NAME.fullmatch(name)) and lower not in _OURS and not lower.startswith("sec-websocket-")


def is_sendable(value: str) -> bool:
    """Whether a header's value can travel: visible ASCII, spaces inside."""
    return bool(_VALUE.fullmatch(value))


class Veil:
    """Hides the values of headers in what a server says, which may well repeat them."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        words = {word for value in headers.values() for word in (value, *value.split())}
        long_enough = [word for word in words if len(word) >= _LEAST_SECRET_CHARS]
        self._secrets = sorted(long_enough, key=len, reverse=True)

    def over(self, text: str) -> str:
        """The text with ``***`` in their place."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
