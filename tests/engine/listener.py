"""A WebSocket client that hears what one prompt makes the server say."""

from __future__ import annotations

import json
import struct
from types import TracebackType
from typing import Any

import requests
import websocket

GUARD_S = 20.0


class Listener:
    """One connection; ``flags`` asks for pictures with their origin, as the first message."""

    def __init__(self, url: str, client_id: str = "client-A", *, flags: bool = False) -> None:
        self.url = url
        self.client_id = client_id
        address = url.replace("http", "ws", 1) + f"/ws?clientId={client_id}"
        self._socket = websocket.create_connection(address, timeout=GUARD_S)
        self.greeting = self.next()
        if flags:
            wish = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
            self._socket.send(json.dumps(wish))
            self.flags = self.next()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, text: str) -> None:
        self._socket.send(text)

    def next(self) -> dict[str, Any]:
        """The next message, pictures taken apart."""
        message = self._socket.recv()
        return json.loads(message) if isinstance(message, str) else taken_apart(message)

    def post(self, graph: dict[str, Any], **body: Any) -> str:
        """Posts a prompt of this client; its id."""
        answer = requests.post(
            f"{self.url}/prompt",
            json={"prompt": graph, "client_id": self.client_id} | body,
            timeout=GUARD_S,
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prompt_id"])

    def until_end(self) -> list[dict[str, Any]]:
        """All messages up to and with the next ``executing`` without a node."""
        heard = []
        while True:
            heard.append(self.next())
            if is_end(heard[-1]):
                return heard

    def run(self, graph: dict[str, Any], **body: Any) -> list[dict[str, Any]]:
        self.post(graph, **body)
        return self.until_end()

    def silent_for(self, wait_s: float) -> bool:
        """Whether nothing is heard for a while."""
        self._socket.settimeout(wait_s)
        try:
            self.next()
        except websocket.WebSocketTimeoutException:
            return True
        finally:
            self._socket.settimeout(GUARD_S)
        return False


def is_end(message: dict[str, Any]) -> bool:
    return message.get("type") == "executing" and message["data"]["node"] is None


def taken_apart(frame: bytes) -> dict[str, Any]:
    event, second = struct.unpack(">II", frame[:8])
    if event == 1:
        return {"event": 1, "image_type": second, "picture": frame[8:]}
    return {"event": event, "metadata": json.loads(frame[8 : 8 + second]), "picture": frame[8 + second :]}


def shape(message: dict[str, Any]) -> Any:
    """What of a message does not differ between two runs of the same graph on two servers.

    Node ids of progress are counted only, since independent nodes may run in any order.
    """
    if "event" in message:
        return ("picture", message["event"], message.get("metadata", {}).get("image_type"))
    kind, data = message["type"], message["data"]
    if kind == "progress_state":
        states = [(one["value"], one["max"], one["state"]) for one in data["nodes"].values()]
        return (kind, states, sorted(next(iter(data["nodes"].values()))))
    if kind == "progress":
        return (kind, data["value"], data["max"])
    if kind == "status":
        return (kind, data["status"], "sid" in data)
    if kind == "executing":
        return (kind, data["node"] is None, sorted(data))
    if kind == "executed":
        return (kind, data["node"], {key: len(value) for key, value in data["output"].items()}, sorted(data))
    if kind == "execution_cached":
        return (kind, data["nodes"], sorted(data))
    return (kind, sorted(data))


def shapes(messages: list[dict[str, Any]]) -> list[Any]:
    return [shape(message) for message in messages]
