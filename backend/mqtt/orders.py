"""What a message from the broker asks of the dream. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MAX_PAYLOAD_BYTES = 4096

Request = dict[str, object]


def request_for(command: str, payload: bytes) -> Request | None:
    """The request to the control socket; None where there is nothing to ask.

    Args:
        command: Which of our command topics it came on.
        payload: What was sent; buttons send anything.

    Raises:
        ValueError: A payload that no Home Assistant sends.
    """
    if command not in _WITH_TEXT:
        return {"command": command}
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"{len(payload)} bytes: at most {MAX_PAYLOAD_BYTES}")
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    return {"command": command, _WITH_TEXT[command]: text} if text else None


_WITH_TEXT: Mapping[str, str] = {"theme": "name", "say": "text"}
"""Command -> the word under which the control socket takes its text."""
