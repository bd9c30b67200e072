"""**InjectionPolicy**: what is folded into a dream that goes round in circles, when, and how much of it.

One score for all candidates, be they memories, the user's own pictures or a fresh one that was dreamt beside
the loop: related but different, not lately used, beautiful. Where nothing remembered does well, as in a young
or narrow memory, the policy asks for a fresh one. A decision made on keyframe n acts from n + `DELAY` on, so
that the engine never waits for it. It paces itself by a clock that is handed in and by a share of the
keyframes, so a fast engine is not given more medicine than a slow one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backend.cache.arc import MAX_STRENGTH
from backend.cache.collapse import CollapseKind, CollapseState

DELAY = 2
"""Keyframes from the decision to the first one that it changes: n + 1 is already being painted."""

_VERSION = 1
_REMEMBERED = 256
_WANTED = (0.4, 0.8)
"""Place in the band that is wanted, from its alike end (0) to its unlike end (1), at urgency 0 and at 1."""
_WHY = {
    CollapseKind.STILL: "the dream stands still",
    CollapseKind.DRIFT: "the dream has drifted into a corner",
    CollapseKind.OSCILLATION: "the dream swings between the same pictures",
    None: "the dream begins to repeat itself",
}


class Source(StrEnum):
    """Where what is folded in comes from."""

    MEMORY = "memory"
    SEED = "seed"  # one of the user's own pictures
    FRESH = "fresh"  # dreamt for this, from words alone


_CALLED = {
    Source.MEMORY: "a memory",
    Source.SEED: "a seed picture",
    Source.FRESH: "for want of a memory that would do, a fresh picture",
}


@dataclass(frozen=True)
class Candidate:
    """A picture that might be folded in.

    Attributes:
        id: Its name in the memory.
        similarity: Cosine to the newest keyframe.
        score: Its beauty, 0 to 1.
        last_shown_s: Seconds since it was shown or folded in last; infinite if never.
        source: Where it comes from.
    """

    id: str
    similarity: float
    score: float
    last_shown_s: float
    source: Source = Source.MEMORY


@dataclass(frozen=True)
class Injection:
    """What to fold in.

    Attributes:
        id: The candidate's.
        strength: Share of the way to it that the arc goes in the end, 0 to 1.
        keyframes: Length of the arc.
        reason: A sentence for people.
    """

    id: str
    strength: float
    keyframes: int
    reason: str
    source: Source = Source.MEMORY


@dataclass(frozen=True)
class InjectionSettings:
    """How freely memories are folded in.

    Attributes:
        enter: Level of collapse from which on it is done at all.
        cooldown_s: Seconds from the end of one arc, at the earliest, to the next decision.
        share: Of the keyframes, at the most, that an arc may touch.
        low: Similarity below which a candidate is not related any more.
        high: Similarity above which it is no different picture.
        rest_s: Seconds after which a memory that was shown is half fresh again.
        weakest: Strength at the lowest level that acts.
        strongest: Strength at level 1.
        keyframes: Length of an arc.
        enough: Score of the best candidate below which a fresh picture is asked for.
        lead: Keyframes before the next arc may begin at which it is asked for.
    """

    enter: float = 0.35
    cooldown_s: float = 40.0
    share: float = 0.15
    low: float = 0.05
    high: float = 0.9
    rest_s: float = 600.0
    weakest: float = 0.6
    strongest: float = 0.9
    keyframes: int = 3
    enough: float = 0.6
    lead: int = 4


class InjectionPolicy:
    """Decides once a keyframe; `decide` must be called for every keyframe, since it counts them."""

    def __init__(self, settings: InjectionSettings | None = None) -> None:
        self._settings = settings or InjectionSettings()
        self._saved = 0.0
        self._busy = 0
        self._quiet_until_s = -math.inf
        self._used_s: OrderedDict[str, float] = OrderedDict()

    def decide(
        self,
        now_s: float,
        state: CollapseState,
        candidates: Sequence[Candidate],
        *,
        fresh_comes: bool = False,
    ) -> Injection | None:
        """What to fold in from keyframe n + `DELAY` on, decided on keyframe n; None for nothing.

        Args:
            now_s: The clock; any origin, but it must not start anew while the policy lives.
            state: The collapse as keyframe n shows it.
            candidates: Of any similarity; those outside the band are passed over.
            fresh_comes: Whether a fresh picture is on its way: then what would not do well is not taken.
        """
        self._earn()
        if self._busy > 0:
            self._busy -= 1
            self._quiet_until_s = now_s + self._settings.cooldown_s
            return None
        return self._choose(now_s, state, candidates, fresh_comes=fresh_comes)

    def _choose(
        self, now_s: float, state: CollapseState, candidates: Sequence[Candidate], *, fresh_comes: bool
    ) -> Injection | None:
        if not self._is_due(now_s, state, self._saved):
            return None
        urgency = self._urgency(state)
        weight, best = self._best(candidates, urgency, now_s)
        if best is None or weight <= 0.0 or (fresh_comes and not self._will_do(weight, best)):
            return None
        return self._chosen(best, urgency, state, now_s)

    def instead(
        self,
        failed: Injection,
        now_s: float,
        state: CollapseState,
        candidates: Sequence[Candidate],
        *,
        fresh_comes: bool = False,
    ) -> Injection | None:
        """Another choice on the same keyframe for one that could not be folded in, which costs nothing then.

        That one rests as if it had been shown, so that it is not tried again on every keyframe.
        """
        self._saved = min(self._saved + failed.keyframes, 2.0 * self._settings.keyframes)
        self._busy = 0
        return self._choose(now_s, state, candidates, fresh_comes=fresh_comes)

    def asked_for(self, injection: Injection, now_s: float) -> None:
        """Somebody had this folded in on this keyframe; to be called instead of `decide`."""
        self._earn()
        self._book(injection.id, injection.keyframes, now_s)

    @property
    def under_way(self) -> bool:
        """Whether an arc has not reached its end: another one would cut it short."""
        return self._busy > 0

    def wants_fresh(self, now_s: float, state: CollapseState, candidates: Sequence[Candidate]) -> bool:
        """Whether a fresh picture should be dreamt: an arc is due soon, and no candidate does well."""
        soon = self._saved + self._settings.lead * _clamp(self._settings.share)
        if self._busy > 0 or not self._is_due(now_s, state, soon):
            return False
        urgency = self._urgency(state)
        if any(one.source is Source.FRESH and self.score(one, urgency, now_s) > 0.0 for one in candidates):
            return False  # there is one; another would hardly be better
        return not self._will_do(*self._best(candidates, urgency, now_s))

    def _will_do(self, weight: float, best: Candidate | None) -> bool:
        """Whether the best there is does well; a fresh picture does if it does at all."""
        if best is None or weight <= 0.0:
            return False
        return weight >= self._settings.enough or best.source is Source.FRESH

    def _is_due(self, now_s: float, state: CollapseState, saved: float) -> bool:
        ill = _clamp(state.level) >= self._settings.enter
        return ill and now_s >= self._quiet_until_s and saved >= self._settings.keyframes

    def _urgency(self, state: CollapseState) -> float:
        """0 at the lowest level that acts to 1 for a dream that is lost."""
        enter = self._settings.enter
        return _clamp((_clamp(state.level) - enter) / max(1.0 - enter, 1e-6))

    def _best(
        self, candidates: Sequence[Candidate], urgency: float, now_s: float
    ) -> tuple[float, Candidate | None]:
        rated = [(self.score(one, urgency, now_s), one) for one in candidates]
        return max(rated, key=lambda pair: pair[0], default=(0.0, None))

    def score(self, one: Candidate, urgency: float, now_s: float) -> float:
        """How well a candidate would do, 0 to 1; 0 for one outside the band.

        Args:
            one: The candidate; whatever numbers it comes with are clamped.
            urgency: 0 to 1; the higher, the more a different picture is wanted, and none from the dream.
            now_s: The clock, for what this policy itself has used.
        """
        urgency = _clamp(urgency)
        low, high = self._settings.low, self._settings.high
        if not low <= one.similarity <= high:
            return 0.0
        place = (high - one.similarity) / max(high - low, 1e-6)
        wanted = _WANTED[0] + (_WANTED[1] - _WANTED[0]) * urgency
        different = _clamp(1.0 - abs(place - wanted))
        rested = self._rested(one, now_s)
        medicine = 0.5 * (1.0 - urgency) if one.source is Source.MEMORY else urgency
        return _clamp(rested * (0.5 * different + 0.3 * _clamp(one.score) + 0.2 * medicine))

    def _rested(self, one: Candidate, now_s: float) -> float:
        used_s = self._used_s.get(one.id)
        ago_s = math.inf if used_s is None else max(now_s - used_s, 0.0)
        shown_s = one.last_shown_s if one.last_shown_s >= 0.0 else 0.0
        return 1.0 - math.pow(0.5, min(ago_s, shown_s) / max(self._settings.rest_s, 1e-6))

    def _earn(self) -> None:
        """Each keyframe earns its share of a touched one; what is saved is bounded by two arcs."""
        self._saved = min(self._saved + _clamp(self._settings.share), 2.0 * self._settings.keyframes)

    def _chosen(self, best: Candidate, urgency: float, state: CollapseState, now_s: float) -> Injection:
        weakest, strongest = self._settings.weakest, self._settings.strongest
        keyframes = self._settings.keyframes
        strength = min(_clamp(weakest + (strongest - weakest) * urgency), MAX_STRENGTH)
        self._book(best.id, keyframes, now_s)
        reason = (
            f"{_WHY[state.kind]} (level {state.level:.2f}, {state.effective_number:.1f} distinct pictures): "
            f"{_CALLED[best.source]} of similarity {best.similarity:.2f} "
            f"is folded in over {keyframes} keyframes"
        )
        return Injection(best.id, strength, keyframes, reason, best.source)

    def _book(self, used_id: str, keyframes: int, now_s: float) -> None:
        self._saved = max(self._saved - keyframes, 0.0)
        self._busy = keyframes + DELAY - 1
        self._used_s[used_id] = now_s
        self._used_s.move_to_end(used_id)
        while len(self._used_s) > _REMEMBERED:
            self._used_s.popitem(last=False)

    def state(self, now_s: float) -> dict[str, object]:
        """All that it knows, as plain JSON; times as seconds ago, for clocks start anew."""
        quiet_s = self._quiet_until_s - now_s
        return {
            "version": _VERSION,
            "saved": self._saved,
            "quiet_s": max(quiet_s, 0.0),
            "used_s_ago": {name: max(now_s - used_s, 0.0) for name, used_s in self._used_s.items()},
        }

    def take_over(self, before: InjectionPolicy, now_s: float) -> None:
        """Go on from what another policy knows within one run: an arc of its is still under way."""
        self.restore(before.state(now_s), now_s)
        self._busy = before._busy

    def restore(self, state: object, now_s: float) -> bool:
        """Go on from what `state` gave; False, and nothing changed, where it is none of ours.

        An arc that was under way is over: its latents were on the way to an engine that is gone.
        """
        try:
            saved, quiet_s, used = _read(state)
        except (TypeError, ValueError, KeyError, OverflowError):
            return False
        self._saved = min(max(saved, 0.0), 2.0 * self._settings.keyframes)
        self._quiet_until_s = now_s + min(max(quiet_s, 0.0), self._settings.cooldown_s)
        self._used_s = OrderedDict((name, now_s - max(ago_s, 0.0)) for name, ago_s in used[-_REMEMBERED:])
        self._busy = 0
        return True


def _read(state: object) -> tuple[float, float, list[tuple[str, float]]]:
    if not isinstance(state, Mapping) or state["version"] != _VERSION:
        raise ValueError("not a state of this version")
    ago_s = state["used_s_ago"]
    if not isinstance(ago_s, Mapping):
        raise TypeError("what was used must be an object")
    used = [(str(name), float(value)) for name, value in ago_s.items()]
    numbers = [float(state["saved"]), float(state["quiet_s"]), *(value for _, value in used)]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("a state must be of finite numbers")
    return numbers[0], numbers[1], used


def _clamp(value: float) -> float:
    """To 0..1; what is no number is 0."""
    return min(max(value, 0.0), 1.0) if not math.isnan(value) else 0.0
