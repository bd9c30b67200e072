"""How a dream stands at a moment, and the word and the sentence that follow from it. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import Problem
from backend.utils.status_schema import Reason, ReasonCode, State


@dataclass(frozen=True)
class Standing:
    """What the loop and its parts have come to.

    Attributes:
        stopping: It is about to end.
        given_up: Why the daemon cannot be kept going; None while it can.
        paused: On request.
        resting_for: For whom the machine is left alone; None while it is not.
        dark: Nothing is to be shown.
        replaying: Kept frames are shown.
        engine_away: The engine brings nothing to show.
        connected: It has answered, and nothing has been heard to the contrary.
        begun: A keyframe has come in this run.
        has_enough: Nothing is on its way, since there is enough to show.
        ready_s: Seconds of frames ready.
        late: With none ready, whoever watches would notice.
        storage_error: Why frames cannot be written.
        sick: What is wrong with the engine and wants its owner.
        trouble: What went wrong lately.
        prompt_problems: Of the themes' folder.
        size: Pixels of the next keyframe, width and height.
        full_size: As wished.
    """

    stopping: bool = False
    given_up: str | None = None
    paused: bool = False
    resting_for: Reason | None = None
    dark: bool = False
    replaying: bool = False
    engine_away: bool = False
    connected: bool = False
    begun: bool = False
    has_enough: bool = False
    ready_s: float = 0.0
    late: bool = False
    storage_error: str | None = None
    sick: str | None = None
    trouble: Reason | None = None
    prompt_problems: Sequence[Problem] = ()
    size: tuple[int, int] = (0, 0)
    full_size: tuple[int, int] = (0, 0)

    @property
    def state(self) -> State:
        """What the machine is doing, in one word."""
        if self.stopping:
            return State.STOPPING
        if self.paused or self.dark:
            return State.PAUSED
        if self.replaying or (self.engine_away and self.ready_s == 0.0):
            return State.REMEMBERING
        if not self.begun and not (self.connected and self.ready_s > 0.0):
            return State.BUFFERING if self.connected else State.STARTING
        if self.has_enough:
            return State.RESTING
        return State.BUFFERING if self.ready_s == 0.0 and self.late else State.DREAMING

    @property
    def reason(self) -> Reason:
        """Why the state is what it is, as a code and a sentence; what weighs most comes first."""
        if self.given_up is not None:
            sentence = f"{self.given_up}; Dreamloop ends, to be started anew by whoever keeps it running"
            return Reason(code=ReasonCode.FAULT, sentence=sentence)
        if self.paused and not self.stopping:
            return Reason(code=ReasonCode.USER, sentence="paused on request; `main.py resume` goes on")
        if self.resting_for is not None:
            return self.resting_for
        if self.storage_error is not None:
            return Reason(code=ReasonCode.STORAGE, sentence=f"frames cannot be written: {self.storage_error}")
        if self.sick is not None:
            return Reason(code=ReasonCode.ENGINE_ERROR, sentence=self.sick)
        return self.trouble or self._no_trouble()

    def _no_trouble(self) -> Reason:
        if self.replaying:
            sentence = "the engine is at work but late; kept frames play meanwhile"
            return Reason(code=ReasonCode.ENGINE_SLOW, sentence=sentence)
        if self.prompt_problems:
            return Reason(code=ReasonCode.PROMPTS, sentence=f"kept the old themes: {self.prompt_problems[0]}")
        return Reason(code=ReasonCode.OK, sentence=self._all_is_well())

    def _all_is_well(self) -> str:
        (width, height), (full_width, full_height) = self.size, self.full_size
        if (width, height) == (full_width, full_height):
            return "all is well"
        return (
            f"all is well, but pictures have {width}x{height} px instead of {full_width}x{full_height}: "
            "the engine ran out of memory; larger ones are tried again after a while"
        )
