"""The scorer: judges keyframes on a thread of its own, remembers them, and says what is folded back in.

Nothing waits for it. Keyframes are offered and may be left out when it is behind; what it decides on
keyframe n acts at n + 2, since n + 1 is already being painted. Where it wants a fresh picture for that, it
orders one, which is dreamt beside the loop.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from backend.cache.arc import arc_weights
from backend.cache.collapse import CollapseState
from backend.cache.injection import Injection, InjectionPolicy, Source
from backend.cache.matching import Identity, Judgement, Vectors
from backend.cache.memory_row import Added, Memory, NewMemory, Origin, Refused
from backend.core.collapse_watch import CollapseWatch
from backend.core.folding import Arc
from backend.core.generator import Keyframe
from backend.core.medicine import FreshPicture, Medicine
from backend.core.provenance import scored
from backend.errors import DreamloopError, StorageError
from backend.interpolation.latent_encoder import write_latents
from backend.utils.logs import EVENT
from backend.utils.part import Part
from backend.utils.status_schema import utc_text

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_WAITING = 4
_EVENTS = 20
_NEIGHBOURS = 48
_SAVE_EVERY = 20
_RECENT = 24
_LONGEST_WAIT_S = 1.0
# Of the candidates, on one keyframe: each that fails may have waited for the engine.
_TRIES = 3
_WISHED_STRENGTH, _WISHED_KEYFRAMES = 0.9, 5
# CLIP on a small CPU, with torch to be loaded first, or a seed that waits for a slow engine.
_TURN_S = 300.0


class Judge(Protocol):
    """Who judges pictures."""

    def judge(self, picture: bytes, prompt: str) -> Judgement: ...


class Recollection(Protocol):
    """The memory, as far as the scorer needs it."""

    def add(self, new: NewMemory) -> Added | Refused: ...

    def get(self, memory_id: str) -> Memory | None: ...

    def nearest(self, vector: Vectors, k: int) -> list[tuple[str, float]]: ...

    def band(self, vector: Vectors, low: float, high: float, k: int) -> list[tuple[str, float]]: ...

    def latent(self, memory_id: str) -> bytes | None: ...

    def refuse_latent(self, memory_id: str) -> None: ...

    def picture(self, memory_id: str) -> bytes: ...

    def shown(self, memory_id: str) -> bool: ...

    def make_room(self, size: int) -> tuple[str, ...]: ...

    @property
    def identity(self) -> Identity: ...


class Errand(Protocol):
    """Has pictures dreamt beside the loop."""

    def order(self) -> bool:
        """Have one dreamt; True if one is on its way."""
        ...


@dataclass(frozen=True)
class InjectionEvent:
    """Something that was folded in.

    Attributes:
        at: UTC, ISO 8601.
        keyframe: The keyframe on which it was decided.
        memory_id: Of the memory; a name like it for a fresh picture that is not remembered.
    """

    at: str
    keyframe: int
    memory_id: str
    strength: float
    keyframes: int
    reason: str
    source: Source = Source.MEMORY


@dataclass(frozen=True)
class _Offer:
    keyframe: Keyframe
    latent: Tensor | None
    aside: bool = False


class Scorer:
    """Judges, remembers, and watches for collapse.

    Args:
        judge: Gives embedding and score.
        memory: Where pictures are remembered.
        policy: Decides what is folded in; None for never.
        inject: Called with what is to be folded into the next keyframes.
        encode: Picture to latent, by the engine; for seed pictures, which have none. May take its time.
        errand: Has fresh pictures dreamt for a dream that nothing remembered can help.
        save: Called with the state that is to survive a restart.
        adopt: Called when another matcher has come, CLIP once it was loaded: by its embeddings the memory
            compares from then on.
        look_from: Level of collapse below which no policy acts, so that nothing need be looked for.
        chore: A piece of other work on the memory, done while no keyframe waits; False if there is none.
        clock: Monotonic seconds.
        wall: Now, with a zone.
    """

    def __init__(
        self,
        judge: Judge,
        memory: Recollection,
        policy: InjectionPolicy | None,
        *,
        inject: Callable[[Arc], None],
        encode: Callable[[bytes], Tensor],
        errand: Errand,
        save: Callable[[Mapping[str, object]], None],
        adopt: Callable[[Identity], None],
        look_from: float = 0.3,
        chore: Callable[[], bool] = lambda: False,
        clock: Callable[[], float],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.state = CollapseState()
        self.judged = 0
        self.left_out = 0
        self.remembered = 0
        self.injections = 0
        self.newest: Judgement | None = None
        self.events: deque[InjectionEvent] = deque(maxlen=_EVENTS)
        self.scarce: Callable[[], bool] = lambda: False
        """Whether the disk has room for little; then nothing is remembered."""
        self._judge = judge
        self._memory = memory
        self._policy = policy
        self._inject = inject
        self._errand = errand
        self._medicine = Medicine(memory, encode, wall)
        self._save = save
        self._adopt = adopt
        self._look_from = look_from
        self._chore = chore
        self._clock = clock
        self._wall = wall
        self._watching = CollapseWatch()
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._ids: OrderedDict[int, str] = OrderedDict()
        self._offers: deque[_Offer] = deque()
        self._wished: str | None = None
        self._something = threading.Condition()
        self.part = Part("scorer", self._one_turn, limit_s=_TURN_S)

    def start(self) -> None:
        """Begin to judge."""
        self.part.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Judge no more, and keep what is known for the next start."""
        with self._something:
            self.part.stopping.set()
            self._something.notify_all()
        self.part.stop(timeout_s)
        self._keep_state()

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Go on from what an earlier run saved; what makes no sense is passed over."""
        known = stored if isinstance(stored, Mapping) else {}
        self._watching.restore(known.get("detectors"))
        kept, policy = known.get("policy"), self._policy
        if policy is not None and not policy.restore(kept, self._clock()) and kept is not None:
            log.warning("what is stored of the injection policy makes no sense: it begins anew")

    def use(self, policy: InjectionPolicy | None) -> None:
        """Decide by another policy from the next keyframe on; it goes on from what the one before knew."""
        if policy is not None and self._policy is not None:
            policy.take_over(self._policy, self._clock())
        self._policy = policy

    def offer(self, keyframe: Keyframe, latent: Tensor | None) -> None:
        """A new keyframe, to be judged when there is time; never waits."""
        self._take(_Offer(keyframe, latent))

    def take_fresh(self, keyframe: Keyframe, latent: Tensor) -> None:
        """A picture that was dreamt beside the loop, as ordered; never waits."""
        self._take(_Offer(keyframe, latent, aside=True))

    def _take(self, offer: _Offer) -> None:
        with self._something:
            if len(self._offers) >= _WAITING:
                self._offers.popleft()
                self.left_out += 1
            self._offers.append(offer)
            self._something.notify_all()

    def wish(self, memory_id: str) -> None:
        """Fold this memory in with the next keyframe that is judged, whatever the policy thinks.

        While another arc is under way it waits for the end of that.

        Raises:
            ValueError: It cannot be folded in; the message says why.
        """
        if self._policy is None:
            raise ValueError(
                "nothing is folded into this dream: memory.injection is never, or its mode does not go on"
            )
        memory = self._memory.get(memory_id)
        if memory is None:
            raise ValueError(f"id {memory_id[:70]!r}: no memory has it")
        if memory.latent is None and memory.origin is not Origin.SEED:
            raise ValueError(f"memory {memory_id[:12]} has no latent that could be folded in")
        self._wished = memory_id

    def turn(self) -> bool:
        """Judge one keyframe, or do a chore; False if there is nothing to do."""
        with self._something:
            offer = self._offers.popleft() if self._offers else None
        if offer is None:
            return self._chore()
        judgement = self._judge.judge(offer.keyframe.picture, offer.keyframe.prompt.positive)
        if judgement.identity != self._memory.identity:
            self._adopt(judgement.identity)
        if offer.aside:
            self._stock(offer, judgement)
        else:
            self._watch(offer, judgement)
        return True

    def _watch(self, offer: _Offer, judgement: Judgement) -> None:
        """A keyframe of the dream: is it going round in circles, and what is to be done?"""
        keyframe = offer.keyframe
        if offer.latent is not None:
            self._medicine.shape = tuple(offer.latent.shape)
        self.newest = judgement
        self.judged += 1
        older = self._nearest_older(judgement.embedding)
        self.state = self._watching.see(judgement.embedding, judgement.identity, older, judgement.near)
        added = self._remember(offer, judgement)
        if added is not None:
            self._recent.append(added)
            self._ids[keyframe.number] = added
            while len(self._ids) > _RECENT:
                self._ids.popitem(last=False)
        self._consider(keyframe, judgement)
        if self.judged % _SAVE_EVERY == 0:
            self._keep_state()

    def _stock(self, offer: _Offer, judgement: Judgement) -> None:
        """A picture from beside the loop: it is remembered like any other, and waits to be folded in."""
        added = self._remember(offer, judgement)
        if offer.latent is not None:
            self._medicine.fresh = FreshPicture.of(offer.keyframe, offer.latent, judgement, added)

    def _nearest_older(self, embedding: Vectors) -> float | None:
        """Similarity to the nearest memory that is no part of the present."""
        near = self._memory.nearest(embedding, _NEIGHBOURS)
        return next((similarity for name, similarity in near if name not in self._recent), None)

    def _remember(self, offer: _Offer, judgement: Judgement) -> str | None:
        """The id of its memory; None where it is not remembered."""
        if self.scarce():
            return None
        keyframe = offer.keyframe
        new = NewMemory(
            picture=scored(keyframe.picture, judgement.score),
            latent=None if offer.latent is None else write_latents(offer.latent),
            embedding=judgement.embedding,
            identity=judgement.identity,
            score=judgement.score,
            theme=keyframe.prompt.theme,
            prompt=keyframe.prompt.positive,
            negative=keyframe.prompt.negative,
            seed=keyframe.seed,
            parents=self._parents(keyframe),
            denoise=keyframe.denoise,
            shows_prompt=judgement.shows_prompt,
            origin=Origin.DREAMT if keyframe.folded is None else Origin.INJECTED,
        )
        try:
            added = self._memory.add(new)
        except StorageError as error:
            log.warning("keyframe %d is not remembered: %s", keyframe.number, error)
            if error.full:
                # The display needs the disk more: the least of the memory gives way to what comes next.
                with contextlib.suppress(StorageError):
                    self._memory.make_room(len(new.picture) + len(new.latent or b""))
            return None
        if not isinstance(added, Added):
            return None
        self.remembered += 1
        return added.id

    def _parents(self, keyframe: Keyframe) -> tuple[str, ...]:
        """Ids of the memories that it was dreamt from, as far as they are remembered."""
        known = None if keyframe.parent is None else self._ids.get(keyframe.parent)
        return tuple(one for one in (known, keyframe.folded) if one is not None)

    def _consider(self, keyframe: Keyframe, judgement: Judgement) -> None:
        policy = self._policy
        if policy is None:
            return
        now, state = self._clock(), self.state
        if not policy.under_way and self._fulfils_wish(keyframe, policy, now):
            return
        candidates = []
        if state.level >= self._look_from:
            candidates = self._medicine.candidates(judgement, keyframe.prompt.theme, self._recent)
        comes = policy.wants_fresh(now, state, candidates) and self._has_fresh_coming()
        chosen = policy.decide(now, state, candidates, fresh_comes=comes)
        tried = 0
        while chosen is not None and not self._folds_in(keyframe, chosen):
            tried += 1
            others = candidates if tried < _TRIES else []
            chosen = policy.instead(chosen, now, state, others, fresh_comes=comes)

    def _fulfils_wish(self, keyframe: Keyframe, policy: InjectionPolicy, now: float) -> bool:
        wished, self._wished = self._wished, None
        if wished is None:
            return False
        asked = Injection(wished, _WISHED_STRENGTH, _WISHED_KEYFRAMES, "somebody asked for it")
        if not self._folds_in(keyframe, asked):
            return False
        policy.asked_for(asked, now)
        return True

    def _has_fresh_coming(self) -> bool:
        """Whether there will be a fresh picture; one is ordered if need be."""
        with self._something:
            waits = any(offer.aside for offer in self._offers)
        return waits or self._errand.order()

    def _folds_in(self, keyframe: Keyframe, chosen: Injection) -> bool:
        try:
            latent = self._medicine.latent_of(chosen.id)
        except DreamloopError as error:
            log.warning("%s cannot be folded in: %s", chosen.id[:12], error)
            return False
        arc = Arc(chosen.id, latent, arc_weights(chosen.strength, chosen.keyframes), chosen.reason)
        self._memory.shown(chosen.id)
        self._recent.append(chosen.id)
        self.injections += 1
        self.events.append(
            InjectionEvent(
                utc_text(self._wall()),
                keyframe.number,
                chosen.id,
                round(chosen.strength, 3),
                chosen.keyframes,
                chosen.reason,
                chosen.source,
            )
        )
        log.info("from keyframe %d: %s", keyframe.number, chosen.reason, extra=EVENT)
        self._inject(arc)
        return True

    def _keep_state(self) -> None:
        state: dict[str, object] = {"version": 1, "detectors": self._watching.state()}
        if self._policy is not None:
            state["policy"] = self._policy.state(self._clock())
        try:
            self._save(state)
        except DreamloopError as error:
            log.warning("the state of the memory's policies is not kept: %s", error)

    def _one_turn(self) -> None:
        if not self.turn():
            with self._something:
                if not self._offers and not self.part.stopping.is_set():
                    self._something.wait(_LONGEST_WAIT_S)
