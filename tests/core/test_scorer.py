from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.cache.collapse import CollapseState
from backend.cache.injection import (
    DELAY,
    Candidate,
    Injection,
    InjectionPolicy,
    InjectionSettings,
    Source,
)
from backend.cache.matching import Identity, Judgement, Vectors
from backend.cache.memory_row import Added, Memory, NewMemory, Origin, Refusal, Refused
from backend.core.folding import Arc
from backend.core.generator import Keyframe
from backend.core.jobs import FileRef
from backend.core.scorer import Scorer
from backend.errors import EngineUnreachable, StorageError
from backend.interpolation.latent_encoder import write_latents
from backend.utils.picture_check import PictureFacts
from backend.utils.prompt_manager import Prompt
from tests.core.test_remembering import memory

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAIN, OTHER = Identity("plain", "1", 8), Identity("other", "1", 8)


def vector(picture: bytes) -> Vectors:
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(picture).digest()[:4], "big"))
    drawn = rng.normal(size=8).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


@dataclass
class Judge:
    identity: Identity = PLAIN

    def judge(self, picture: bytes, prompt: str) -> Judgement:
        return Judgement(vector(picture), self.identity, 0.5, None)


@dataclass
class Album:
    """A memory in memory."""

    identity: Identity = PLAIN
    rows: dict[str, tuple[Memory, NewMemory]] = field(default_factory=dict)
    room_made: int = 0
    came_back: list[str] = field(default_factory=list)
    used: list[Identity] = field(default_factory=list)

    def add(self, new: NewMemory) -> Added | Refused:
        if new.origin is Origin.INJECTED:
            return Refused(Refusal.BLEND)
        name = hashlib.sha256(new.picture).hexdigest()
        row = replace(memory(name), origin=new.origin, latent=None if new.latent is None else "there")
        self.rows[name] = (row, new)
        return Added(name)

    def get(self, memory_id: str) -> Memory | None:
        return self.rows[memory_id][0] if memory_id in self.rows else None

    def nearest(self, at: Vectors, k: int) -> list[tuple[str, float]]:
        found = [(name, float(vector(new.picture) @ at)) for name, (_, new) in self.rows.items()]
        return sorted(found, key=lambda pair: -pair[1])[:k]

    def band(self, at: Vectors, low: float, high: float, k: int) -> list[tuple[str, float]]:
        return [pair for pair in self.nearest(at, len(self.rows)) if low <= pair[1] <= high][:k]

    def latent(self, memory_id: str) -> bytes | None:
        return self.rows[memory_id][1].latent

    def refuse_latent(self, memory_id: str) -> None:
        row, new = self.rows[memory_id]
        self.rows[memory_id] = (replace(row, latent=None), replace(new, latent=None))

    def picture(self, memory_id: str) -> bytes:
        return self.rows[memory_id][1].picture

    def shown(self, memory_id: str) -> bool:
        self.came_back.append(memory_id)
        return True

    def make_room(self, size: int) -> tuple[str, ...]:
        self.room_made += size
        return ()

    def use(self, identity: Identity) -> None:
        self.used.append(identity)
        self.identity = identity


class Always(InjectionPolicy):
    """Folds in the first candidate there is; remembers what it was offered."""

    def __init__(self) -> None:
        super().__init__()
        self.offered: list[list[Candidate]] = []
        self.coming: list[bool] = []

    def wants_fresh(self, now_s: float, state: CollapseState, candidates: list[Candidate]) -> bool:  # type: ignore[override]
        return not candidates

    def decide(  # type: ignore[override]
        self, now_s: float, state: CollapseState, candidates: list[Candidate], *, fresh_comes: bool = False
    ) -> Injection | None:
        self.coming.append(fresh_comes)
        self.offered.append(list(candidates))
        if not candidates:
            return None
        return Injection(candidates[0].id, 0.6, 5, "it repeats itself", candidates[0].source)


@dataclass
class Errand:
    """Says that a fresh picture comes, as long as it is told to."""

    comes: bool = True
    orders: int = 0

    def order(self) -> bool:
        self.orders += 1
        return self.comes


@dataclass
class Desk:
    """A scorer and everything around it."""

    album: Album = field(default_factory=Album)
    judge: Judge = field(default_factory=Judge)
    policy: Always | None = field(default_factory=Always)
    arcs: list[Arc] = field(default_factory=list)
    encoded: list[bytes] = field(default_factory=list)
    errand: Errand = field(default_factory=Errand)
    saved: list[Mapping[str, object]] = field(default_factory=list)
    chores: int = 0

    def __post_init__(self) -> None:
        self.scorer = Scorer(
            self.judge,
            self.album,
            self.policy,
            inject=self.arcs.append,
            encode=self._encode,
            errand=self.errand,
            save=self.saved.append,
            adopt=self.album.use,
            look_from=0.0,
            chore=self._chore,
            clock=lambda: 100.0,
            wall=lambda: NOW,
        )

    def _encode(self, picture: bytes) -> torch.Tensor:
        self.encoded.append(picture)
        return torch.zeros(1, 4, 2, 2)

    def _chore(self) -> bool:
        self.chores += 1
        return False

    def dream(self, number: int, *, folded: str | None = None, latent: bool = True) -> None:
        tensor = torch.full((1, 4, 2, 2), float(number)) if latent else None
        self.scorer.offer(keyframe(number, folded), tensor)
        assert self.scorer.turn()

    def fresh(self, number: int) -> None:
        self.scorer.take_fresh(keyframe(number, parent=None), torch.full((1, 4, 2, 2), float(number)))
        assert self.scorer.turn()

    def seed(self, data: bytes = b"my own picture") -> str:
        added = self.album.add(NewMemory(data, None, vector(data), PLAIN, 0.5, origin=Origin.SEED))
        assert isinstance(added, Added)
        return added.id


def dream_until_folded(desk: Desk) -> None:
    for _ in range(200):
        desk.dream(desk.scorer.judged + 1)
        if desk.arcs:
            return
    raise AssertionError("nothing is folded in")


def keyframe(number: int, folded: str | None = None, parent: int | None = -1) -> Keyframe:
    """Its parent is the one before, where nothing else is said."""
    return Keyframe(
        number=number,
        picture=b"picture %d" % number,
        facts=PictureFacts(64, 40, "png"),
        latent=FileRef("x"),
        prompt=Prompt("sea", "a quiet sea", "noise"),
        seed=number,
        denoise=0.4,
        parent=number - 1 if parent == -1 else parent,
        seconds=0.1,
        folded=folded,
    )


def test_a_keyframe_is_judged_and_remembered_with_all_that_is_known_of_it() -> None:
    desk = Desk(policy=None)
    desk.dream(7)
    ((row, new),) = desk.album.rows.values()
    assert (new.theme, new.prompt, new.negative) == ("sea", "a quiet sea", "noise")
    assert (new.seed, new.denoise, new.parents, new.score) == (7, 0.4, (), 0.5)
    assert new.latent == write_latents(torch.full((1, 4, 2, 2), 7.0))
    assert row.origin is Origin.DREAMT
    assert (desk.scorer.judged, desk.scorer.remembered) == (1, 1)


def test_what_a_keyframe_was_dreamt_from_is_told_by_the_memory_of_it() -> None:
    desk = Desk(policy=None)
    desk.dream(1)
    desk.dream(2)
    (first, _), (_, second) = desk.album.rows.values()
    assert second.parents == (first.id,)


def test_a_blend_is_judged_but_never_remembered() -> None:
    desk = Desk(policy=None)
    desk.dream(1, folded="some memory")
    assert desk.album.rows == {}
    assert (desk.scorer.judged, desk.scorer.remembered) == (1, 0)


def test_what_is_folded_in_is_told_with_its_reason_and_noted_as_shown() -> None:
    desk = Desk()
    seed = desk.seed()
    desk.policy.offered.clear()  # type: ignore[union-attr]
    dream_until_folded(desk)
    (event,) = desk.scorer.events
    assert (event.memory_id, event.reason) == (seed, "it repeats itself")
    assert (event.strength, event.keyframes, event.keyframe) == (0.6, 5, desk.scorer.judged)
    assert desk.album.came_back == [seed]
    assert desk.scorer.injections == 1
    assert desk.arcs[0].memory_id == seed
    assert not desk.arcs[0].over


def test_the_latent_of_a_seed_picture_is_made_when_it_is_needed() -> None:
    desk = Desk()
    desk.seed(b"my own picture")
    dream_until_folded(desk)
    assert desk.encoded == [b"my own picture"]


def test_the_newest_memories_are_the_present_and_are_not_folded_in() -> None:
    desk = Desk()
    for number in range(1, 20):
        desk.dream(number)
    assert desk.policy is not None
    assert desk.policy.offered == [[]] * 19
    for number in range(20, 40):
        desk.dream(number)
    assert any(desk.policy.offered)


def test_a_memory_without_a_latent_that_is_no_seed_is_no_candidate() -> None:
    desk = Desk()
    for number in range(1, 60):
        desk.dream(number, latent=False)
    assert desk.arcs == []


def test_without_a_policy_nothing_is_folded_in() -> None:
    desk = Desk(policy=None)
    desk.seed()
    for number in range(1, 40):
        desk.dream(number)
    assert desk.arcs == []


def test_a_scorer_that_is_behind_leaves_the_oldest_out_and_keeps_nobody_waiting() -> None:
    desk = Desk(policy=None)
    for number in range(10):
        desk.scorer.offer(keyframe(number), None)
    while desk.album.identity and desk.scorer.turn():
        pass
    assert desk.scorer.judged == 4
    assert desk.scorer.left_out == 6
    assert b"picture 9" in {new.picture for _, new in desk.album.rows.values()}


def test_chores_are_done_only_while_no_keyframe_waits() -> None:
    desk = Desk(policy=None)
    desk.dream(1)
    assert desk.chores == 0
    assert not desk.scorer.turn()
    assert desk.chores == 1


def test_another_matcher_is_told_to_the_memory_before_it_is_asked() -> None:
    desk = Desk(policy=None)
    desk.dream(1)
    desk.judge.identity = OTHER
    desk.dream(2)
    assert desk.album.used == [OTHER]


def test_the_state_survives_a_restart() -> None:
    desk = Desk()
    for number in range(1, 31):
        desk.dream(number)
    desk.scorer.stop()
    told = desk.scorer.state
    again = Desk()
    again.scorer.restore(desk.saved[-1])
    again.dream(31)
    desk.dream(31)
    after, before = again.scorer.state, desk.scorer.state
    assert (after.armed, after.collapsed, after.kind) == (before.armed, before.collapsed, before.kind)
    assert after.effective_number == pytest.approx(before.effective_number, rel=1e-3)
    assert after.dispersion == pytest.approx(before.dispersion, rel=1e-3)
    assert told.effective_number > 1


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"detectors": 3, "policy": []},
        {"detectors": {str(PLAIN): "x"}},
        {"policy": {"version": 1, "saved": 10**400, "quiet_s": 0, "used_s_ago": {}}},
        7,
        None,
    ],
)
def test_a_state_that_makes_no_sense_is_passed_over(stored: object) -> None:
    desk = Desk()
    desk.scorer.restore(stored)  # type: ignore[arg-type]
    desk.dream(1)
    assert desk.scorer.judged == 1


def test_a_memory_that_cannot_be_read_is_left_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.seed()

    def broken(_: str) -> bytes:
        raise StorageError(Path("x"), OSError(5, "Input/output error"))

    monkeypatch.setattr(desk.album, "picture", broken)
    for number in range(1, 20):
        desk.dream(number)
    assert desk.arcs == []
    assert desk.scorer.injections == 0


def test_a_disk_that_is_full_costs_the_memory_of_a_keyframe_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    desk.seed()

    def full(_: object) -> Added:
        raise StorageError(Path("x"), OSError(28, "No space left on device"))

    monkeypatch.setattr(desk.album, "add", full)
    dream_until_folded(desk)
    assert desk.scorer.remembered == 0
    assert desk.album.room_made > 0


@dataclass
class StandsStill(Judge):
    """To which each keyframe is nearly the same, and what is not a keyframe somewhat different."""

    def judge(self, picture: bytes, prompt: str) -> Judgement:
        near = np.ones(8, np.float32) / np.float32(8**0.5) + 1e-3 * vector(picture)
        return Judgement((near / np.linalg.norm(near)).astype(np.float32), self.identity, 0.5, None)


def ill_desk(**other: object) -> tuple[Desk, list[int]]:
    """A desk whose dream stands still, with the real policy, and the keyframes at which arcs were begun."""
    desk = Desk(judge=StandsStill(), policy=None, errand=Errand(comes=False), **other)  # type: ignore[arg-type]
    begun: list[int] = []
    desk.scorer._inject = lambda arc: (desk.arcs.append(arc), begun.append(desk.scorer.judged))  # type: ignore[assignment, func-returns-value]
    desk.scorer._medicine._wall = lambda: NOW + timedelta(hours=10)
    desk.scorer.use(InjectionPolicy(InjectionSettings(cooldown_s=0.0)))
    return desk, begun


def test_a_seed_that_cannot_be_encoded_does_not_spend_what_the_next_one_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk, begun = ill_desk()
    seeds = [desk.seed(b"seed %d" % number) for number in range(12)]
    tried: list[bytes] = []

    def encode(picture: bytes) -> torch.Tensor:
        tried.append(picture)
        if len(tried) < 3:
            raise EngineUnreachable("http://x", "gone")
        return torch.zeros(1, 4, 2, 2)

    monkeypatch.setattr(desk.scorer._medicine, "_encode", encode)
    for number in range(1, 60):
        desk.dream(number, latent=False)
        if tried:
            break
    assert len(tried) == len(set(tried)) == 3, "each is tried once, on one keyframe"
    assert begun == [desk.scorer.judged]
    assert desk.arcs[0].memory_id in seeds
    assert desk.scorer.injections == 1


def test_where_no_candidate_can_be_had_few_are_tried_on_a_keyframe(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, begun = ill_desk()
    for number in range(30):
        desk.seed(b"seed %d" % number)
    tried: list[int] = []

    def encode(_picture: bytes) -> torch.Tensor:
        tried.append(desk.scorer.judged)
        raise EngineUnreachable("http://x", "gone")

    monkeypatch.setattr(desk.scorer._medicine, "_encode", encode)
    for number in range(1, 60):
        desk.dream(number, latent=False)
    assert tried
    assert max(tried.count(one) for one in tried) == 3
    assert len(tried) <= 30, "none of them twice"
    assert begun == []


def test_a_wish_waits_for_the_end_of_an_arc_and_the_policy_for_the_end_of_the_wish() -> None:
    desk, begun = ill_desk()
    for number in range(12):
        desk.seed(b"seed %d" % number)
    at = 0
    while not begun and at < 100:
        at += 1
        desk.dream(at, latent=False)
    wished = desk.seed(b"what somebody likes")
    desk.scorer.wish(wished)
    while len(begun) < 3 and at < 200:
        at += 1
        desk.dream(at, latent=False)
    assert desk.arcs[1].memory_id == wished
    assert begun[1] - begun[0] >= 3 + DELAY
    assert begun[2] - begun[1] >= 5 + DELAY


def test_a_wish_that_cannot_be_fulfilled_leaves_the_policy_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> bytes:
        raise StorageError(Path("x"), OSError(5, "Input/output error"))

    desk, begun = ill_desk()
    wished = desk.seed(b"what somebody likes")
    desk.dream(1, latent=False)
    before = desk.scorer._policy.state(0.0)  # type: ignore[union-attr]
    monkeypatch.setattr(desk.album, "picture", broken)
    desk.scorer.wish(wished)
    desk.dream(2, latent=False)
    after = desk.scorer._policy.state(0.0)  # type: ignore[union-attr]
    assert (begun, after["used_s_ago"], after["quiet_s"]) == ([], {}, 0.0)
    assert after["saved"] > before["saved"]  # type: ignore[operator]


def test_where_nothing_can_be_folded_in_a_fresh_picture_is_ordered_and_waited_for() -> None:
    desk = Desk()
    desk.dream(1)
    assert desk.errand.orders == 1
    assert desk.policy is not None
    assert desk.policy.coming == [True]


def test_where_no_fresh_picture_can_be_had_nobody_waits_for_one() -> None:
    desk = Desk(errand=Errand(comes=False))
    desk.dream(1)
    assert desk.policy is not None
    assert desk.policy.coming == [False]


def test_a_fresh_picture_is_judged_and_remembered_but_is_no_keyframe_of_the_dream() -> None:
    desk = Desk()
    desk.dream(1)
    desk.fresh(2)
    assert desk.scorer.judged == 1
    assert desk.scorer.remembered == 2
    (_, new) = list(desk.album.rows.values())[-1]
    assert (new.origin, new.parents) == (Origin.DREAMT, ())
    assert not desk.arcs, "it waits until a keyframe asks for it"


def test_a_fresh_picture_is_folded_in_with_the_next_keyframe_and_told_as_such() -> None:
    desk = Desk()
    desk.fresh(2)
    (name,) = desk.album.rows
    desk.dream(3)
    (arc,) = desk.arcs
    (event,) = desk.scorer.events
    assert (arc.memory_id, event.memory_id, event.source) == (name, name, Source.FRESH)
    assert desk.errand.orders == 0
    desk.dream(4)
    assert len(desk.arcs) == 1, "it is given once, and is part of the present now"


def test_a_fresh_picture_that_waits_to_be_judged_is_not_ordered_again() -> None:
    desk = Desk()
    desk.scorer.offer(keyframe(1), None)
    desk.scorer.take_fresh(keyframe(2), torch.zeros(1, 4, 2, 2))
    assert desk.scorer.turn()
    assert desk.errand.orders == 0
    assert desk.policy is not None
    assert desk.policy.coming == [True]


def test_a_fresh_picture_that_is_not_remembered_is_folded_in_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    monkeypatch.setattr(desk.album, "add", lambda _: Refused(Refusal.TOO_SIMILAR))
    desk.fresh(2)
    desk.dream(3)
    (event,) = desk.scorer.events
    assert (desk.album.rows, event.source, len(event.memory_id)) == ({}, Source.FRESH, 64)
