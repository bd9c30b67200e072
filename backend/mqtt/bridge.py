"""The bridge between a dream and an MQTT broker: says how the dream is, and carries wishes to it.

It holds no dream of its own: it reads the status file and asks at the control socket, as any display and
any command does. It has one thread, and nobody waits for it.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backend.errors import BrokerTrouble, NoDaemon
from backend.mqtt.link import Heard
from backend.mqtt.orders import Request, request_for
from backend.mqtt.spec import MqttSpec
from backend.mqtt.topics import OFFLINE, ONLINE, Message, Topics, state_of
from backend.mqtt.watched import WatchedDream
from backend.utils.backoff import Backoff
from backend.utils.control import SOCKET_NAME, ask
from backend.utils.part import Part

log = logging.getLogger("dreamloop.mqtt")

_WAIT_S = 0.2
_LET_IN_S = 10.0
_ASK_S = 2.0
_TELL_EVERY_S = 10.0
_TELL_AT_MOST_EVERY_S = 0.5
_WISHES = 16
# Names are looked up by the system, which has its own patience.
_TURN_S = 120.0
_BIRTH = b"online"
_TOLD_AT_ONCE = ("state", "reason")


class Connection(Protocol):
    """A Link, or a test's double of one."""

    accepted: bool
    heard: deque[Heard]

    def open(self) -> None: ...

    def listen(self, topics: list[str]) -> None: ...

    def say(self, message: Message) -> None: ...

    @property
    def clogged(self) -> bool: ...

    def turn(self, wait_s: float) -> None: ...

    def close(self, last_words: list[Message]) -> None: ...


@dataclass
class _Told:
    """What the broker has been told on this connection; with nothing told, everything is due."""

    described: bool = False
    themes: tuple[str, ...] = ()
    availability: str = ""
    brief: tuple[str, ...] = ()
    state_at: float = float("-inf")
    picture: int = 0
    picture_at: float = float("-inf")


class Bridge:
    """Keeps a broker informed, and obeys what comes from it.

    Args:
        spec: What it connects.
        connect: Makes a connection that is not open yet.
        clock: Monotonic seconds.
        rng: Jitter between two tries.
        version: Of this program.
    """

    def __init__(
        self,
        spec: MqttSpec,
        connect: Callable[[Topics], Connection],
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        version: str,
    ) -> None:
        self.problem: str | None = None
        """Why there is no connection, as a sentence."""
        self.topics = Topics(spec.topic_prefix, spec.discovery_prefix, version)
        self.part = Part("mqtt", self.turn, limit_s=_TURN_S)
        self._spec = spec
        self._connect = connect
        self._clock = clock
        self._backoff = Backoff(1.0, 60.0, rng or random.Random())
        self._dream = WatchedDream(spec.output, spec.status, clock)
        self._socket: Path = spec.status / SOCKET_NAME
        self._link: Connection | None = None
        self._opened_at = 0.0
        self._again_at = clock()
        self._welcome = False
        self._wishes: deque[Request] = deque(maxlen=_WISHES)
        self._said, self._refused = "", ""
        self._told = _Told()

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self.part.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say that the dream is away, and end."""
        self.part.stop(timeout_s)
        if not self.part.runs and self._link is not None:
            self._link.close([self._availability(OFFLINE)])
            self._link = None

    def turn(self) -> None:
        """Do what is due; takes a moment, longer only while a connection is made."""
        now = self._clock()
        try:
            if self._link is None:
                if now < self._again_at:
                    self.part.stopping.wait(min(_WAIT_S, self._again_at - now))
                    return
                self._link = self._connect(self.topics)
                self._opened_at = now
                self._link.open()
            self._link.turn(_WAIT_S)
            self._serve(self._link)
        except BrokerTrouble as trouble:
            self._lost(trouble)

    def _serve(self, link: Connection) -> None:
        if not link.accepted:
            if self._clock() - self._opened_at > _LET_IN_S:
                raise BrokerTrouble(self._spec.address, "it does not say whether it lets us in")
            return
        if not self._welcome:
            link.listen([self.topics.birth, *self.topics.commands])
            log.info("connected to the MQTT broker at %s", self._spec.address)
            self._welcome, self.problem = True, None
            self._backoff.reset()
        while link.heard:
            self._heed(link.heard.popleft())
        self._obey_one()
        self._dream.look()
        if not link.clogged:
            self._tell(link)

    def _heed(self, heard: Heard) -> None:
        if heard.topic == self.topics.birth:
            if heard.payload == _BIRTH:  # Home Assistant has begun anew and knows nothing of us
                self._told = _Told()
            return
        command = self.topics.commands.get(heard.topic)
        if command is None or heard.kept:
            return
        try:
            request = request_for(command, heard.payload)
        except ValueError as error:
            log.info("a message on %s is passed over: %s", heard.topic, error)
            return
        if request is not None:
            self._wishes.append(request)

    def _obey_one(self) -> None:
        if not self._wishes:
            return
        request = self._wishes.popleft()
        try:
            answer = ask(self._socket, request, _ASK_S)
        except NoDaemon as error:
            answer = {"ok": False, "error": str(error)}
        self._refused = "" if answer.get("ok") else str(answer.get("error") or "without a reason")
        if self._refused:
            log.warning("%s over MQTT was refused: %s", request["command"], self._refused)
        elif request["command"] == "say":
            self._said = str(request.get("text") or "")
        self._told.state_at = float("-inf")

    def _tell(self, link: Connection) -> None:
        """What is new, or has not been said for a while."""
        now, dream, told = self._clock(), self._dream, self._told
        if dream.themes != told.themes or not told.described:
            for message in self.topics.discovery(dream.themes):
                link.say(message)
            told.themes, told.described = dream.themes, True
        availability = ONLINE if dream.fresh else OFFLINE
        if availability != told.availability:
            link.say(self._availability(availability))
            told.availability = availability
        if dream.newest is not None:
            self._tell_state(link, dream.newest, now)
            self._tell_picture(link, now)

    def _tell_state(self, link: Connection, status: Mapping[str, Any], now: float) -> None:
        told, age_s = self._told, self._dream.frame_age_s
        brief = tuple(str(status.get(key)) for key in _TOLD_AT_ONCE)
        waited_s = now - told.state_at
        if waited_s >= _TELL_EVERY_S or (brief != told.brief and waited_s >= _TELL_AT_MOST_EVERY_S):
            state = state_of(status, frame_age_s=age_s, said=self._said, refused=self._refused)
            link.say(Message(self.topics.state, state))
            told.state_at, told.brief = now, brief

    def _tell_picture(self, link: Connection, now: float) -> None:
        told = self._told
        if self._dream.frame == told.picture or now - told.picture_at < self._spec.image_s:
            return
        told.picture_at = now
        picture = self._dream.jpeg()
        if picture is not None:
            link.say(Message(self.topics.image, picture))
            told.picture = self._dream.frame

    def _availability(self, word: str) -> Message:
        return Message(self.topics.availability, word.encode())

    def _lost(self, trouble: BrokerTrouble) -> None:
        wait_s = self._backoff.next_s()
        if str(trouble) != self.problem:
            log.warning("%s; trying again for as long as it takes", trouble)
        self.problem = str(trouble)
        self._again_at = self._clock() + wait_s
        link, self._link = self._link, None
        self._welcome = False
        self._told = _Told()
        if link is not None:
            link.close([])
