"""The listener on a wire that lives in memory, with a clock that only the test moves."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from backend.core.comfyui_messages import FEATURE_FLAGS, Event, Status
from backend.core.comfyui_socket import SocketListener, socket_url
from backend.core.wire import ControlFrame, Frame, WireClosed

STATUS = '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}'
Step = Frame | WireClosed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class MemoryWire:
    """Gives the frames of a script, then nothing for ever; each empty wait takes its time."""

    def __init__(self, clock: Clock, script: list[Step]) -> None:
        self.clock = clock
        self.script = script
        self.sent: list[str] = []
        self.pinged_at: list[float] = []
        self.aborted = False

    def send(self, text: str) -> None:
        self.sent.append(text)

    def ping(self) -> None:
        self.pinged_at.append(self.clock.now)

    def receive(self, timeout_s: float) -> Frame:
        if self.aborted:
            raise WireClosed("aborted")
        step = self.script.pop(0) if self.script else None
        if isinstance(step, WireClosed):
            raise step
        if step is None:
            self.clock.now += timeout_s
        return step

    def abort(self) -> None:
        self.aborted = True


class MemoryEars:
    def __init__(self) -> None:
        self.opens: list[str] = []
        self.closes: list[tuple[str, bool]] = []
        self.events: list[Event] = []
        self.on_tick: Callable[[], bool] = lambda: False

    def opened(self, client_id: str) -> None:
        self.opens.append(client_id)

    def closed(self, reason: str, *, nobody: bool) -> None:
        self.closes.append((reason, nobody))

    def heard(self, event: Event) -> None:
        self.events.append(event)

    def tick(self) -> bool:
        return self.on_tick()


class Stage:
    def __init__(self, *script: Step, refuse: bool = False) -> None:
        self.clock = Clock()
        self.ears = MemoryEars()
        self.urls: list[str] = []
        self.wires: list[MemoryWire] = []
        self.script = list(script)
        self.refuse = refuse
        self.listener = SocketListener(
            lambda: "http://127.0.0.1:8188",
            self.ears,
            connect=self.connect,
            clock=self.clock,
            rng=random.Random(7),
        )

    def connect(self, url: str, _timeout_s: float) -> MemoryWire:
        self.urls.append(url)
        if self.refuse:
            raise WireClosed("refused", nobody=True)
        self.wires.append(MemoryWire(self.clock, list(self.script)))
        return self.wires[-1]


def test_feature_flags_are_the_first_message_of_every_connection() -> None:
    stage = Stage(WireClosed("gone"))
    stage.listener.turn()
    stage.listener.turn()
    assert [wire.sent for wire in stage.wires] == [[FEATURE_FLAGS], [FEATURE_FLAGS]]


def test_every_connection_has_a_client_id_of_its_own() -> None:
    stage = Stage(WireClosed("gone"))
    stage.listener.turn()
    stage.listener.turn()
    first, second = stage.ears.opens
    assert first != second
    assert stage.urls == [socket_url("http://127.0.0.1:8188", one) for one in (first, second)]


def test_what_comes_is_handed_on_in_order() -> None:
    stage = Stage(STATUS, b"\0\0\0\x63", STATUS, WireClosed("gone"))
    stage.listener.turn()
    assert [type(event).__name__ for event in stage.ears.events] == ["Status", "Unknown", "Status"]
    assert isinstance(stage.ears.events[0], Status)
    assert stage.ears.closes == [("gone", False)]


def test_a_connection_without_a_sign_of_life_is_pinged_and_then_given_up_in_less_than_20_s() -> None:
    stage = Stage()
    stage.listener.turn()
    (wire,) = stage.wires
    assert wire.pinged_at == pytest.approx([5.0, 10.0])
    assert stage.clock.now <= 20.0
    assert stage.ears.closes == [("no sign of life", False)]


def test_a_pong_is_a_sign_of_life_but_nothing_to_be_heard() -> None:
    stage = Stage(*[None] * 40, ControlFrame(), *[None] * 40, WireClosed("gone"))
    stage.listener.turn()
    assert stage.ears.closes == [("gone", False)]
    assert stage.ears.events == []


def test_ears_that_hear_nothing_get_a_new_connection() -> None:
    stage = Stage()
    stage.ears.on_tick = lambda: stage.clock.now >= 1.0
    stage.listener.turn()
    assert stage.ears.closes == [("nothing was heard", False)]
    assert stage.wires[0].aborted


def test_a_server_that_is_away_is_told_and_asked_again_ever_more_slowly_with_jitter() -> None:
    stage = Stage(refuse=True)
    waits = []
    for _ in range(12):
        waits.append(stage.listener.wait_s())
        stage.listener.turn()
    assert stage.ears.closes == [("refused", True)] * 12
    assert all(0.5 <= wait <= 30.0 for wait in waits)
    assert waits[-1] >= 15.0
    assert len(set(waits[-4:])) == 4


def test_once_heard_the_waits_are_short_again() -> None:
    stage = Stage(STATUS, WireClosed("gone"), refuse=True)
    for _ in range(8):
        stage.listener.turn()
    stage.refuse = False
    stage.listener.turn()
    assert stage.listener.wait_s() == 0.5


def test_a_socket_url_follows_the_scheme() -> None:
    assert socket_url("http://h:1", "id") == "ws://h:1/ws?clientId=id"
    assert socket_url("https://h", "id") == "wss://h/ws?clientId=id"
