from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cache.collapse import CollapseKind, CollapseState
from backend.cache.injection import (
    DELAY,
    Candidate,
    Injection,
    InjectionPolicy,
    InjectionSettings,
    Source,
)

ILL = CollapseState(level=0.8, collapsed=True, effective_number=1.6, kind=CollapseKind.STILL, armed=True)
WELL = CollapseState(level=0.1, armed=True)
MEMORY = Candidate("memory", similarity=0.5, score=0.6, last_shown_s=math.inf)
EAGER = InjectionSettings(share=1.0, cooldown_s=0.0)


def folded(
    policy: InjectionPolicy,
    keyframes: int,
    *,
    step_s: float,
    candidates: list[Candidate],
    start_s: float = 0.0,
) -> list[tuple[float, Injection]]:
    """What a policy decides over a lasting collapse."""
    found = []
    for number in range(keyframes):
        now_s = start_s + number * step_s
        chosen = policy.decide(now_s, ILL, candidates)
        if chosen is not None:
            found.append((now_s, chosen))
    return found


def many(count: int) -> list[Candidate]:
    return [replace(MEMORY, id=str(at), similarity=0.3 + 0.5 * at / count) for at in range(count)]


def first(settings: InjectionSettings, state: CollapseState, candidates: list[Candidate]) -> Injection | None:
    """The first decision in so many keyframes that any budget is saved up."""
    policy = InjectionPolicy(settings)
    return next((found for at in range(50) if (found := policy.decide(at, state, candidates))), None)


def test_a_candidate_that_could_not_be_folded_in_costs_nothing_and_the_next_best_is_chosen() -> None:
    settings, some = InjectionSettings(cooldown_s=100.0), many(4)
    policy, tries = InjectionPolicy(settings), []
    until = next(at for at in range(99) if (chosen := policy.decide(float(at), ILL, some)))
    while chosen is not None and len(tries) < 9:
        tries.append(chosen.id)
        chosen = policy.instead(chosen, float(until), ILL, some)
    assert sorted(tries) == sorted(one.id for one in some), "each of them once, and then nothing"
    assert not policy.under_way
    other = replace(MEMORY, id="another")
    again = policy.decide(until + 1.0, ILL, [*some, other])
    assert again is not None, "nothing was spent, and no cooldown begun"
    assert again.id == "another"


def test_what_somebody_asked_for_is_an_arc_like_any_other() -> None:
    policy = saved_up(InjectionSettings(share=0.5, cooldown_s=30.0))
    policy.asked_for(Injection("wished", 0.9, 5, "asked"), 50.0)
    decided = [(at, policy.decide(float(at), ILL, many(9))) for at in range(51, 120)]
    under_way = 5 + DELAY - 1
    first_at = next(at for at, chosen in decided if chosen)
    assert first_at >= 50 + under_way + 30
    wished = replace(MEMORY, id="wished")
    assert policy.score(wished, 0.5, 51.0) < 0.1 * policy.score(MEMORY, 0.5, 51.0), "it was just shown"


def test_a_policy_that_takes_over_lets_an_arc_come_to_its_end() -> None:
    before, after = saved_up(InjectionSettings(cooldown_s=0.0)), InjectionPolicy(EAGER)
    assert before.decide(50.0, ILL, many(9)) is not None
    after.take_over(before, 50.5)
    waited = next(number for number in range(99) if after.decide(51.0 + number, ILL, many(9)))
    assert waited == EAGER.keyframes + DELAY - 1


def test_a_healthy_dream_is_left_alone() -> None:
    assert first(EAGER, WELL, [MEMORY]) is None


def test_a_collapse_is_answered_with_a_reason_for_people() -> None:
    chosen = first(EAGER, ILL, [MEMORY])
    assert chosen is not None
    assert chosen.id == "memory"
    assert chosen.reason == (
        "the dream stands still (level 0.80, 1.6 distinct pictures): "
        f"a memory of similarity 0.50 is folded in over {chosen.keyframes} keyframes"
    )


@pytest.mark.parametrize("similarity", [-0.5, 0.0, 0.95, 1.0, math.nan])
def test_what_is_unrelated_or_the_same_picture_is_not_folded_in(similarity: float) -> None:
    assert first(EAGER, ILL, [replace(MEMORY, similarity=similarity)]) is None


def test_of_two_alike_the_beautiful_one_is_taken() -> None:
    chosen = first(EAGER, ILL, [replace(MEMORY, id="plain", score=0.2), replace(MEMORY, score=0.9)])
    assert chosen is not None
    assert chosen.id == "memory"


def test_of_two_alike_the_one_that_rested_is_taken() -> None:
    chosen = first(EAGER, ILL, [replace(MEMORY, id="just shown", last_shown_s=5.0), MEMORY])
    assert chosen is not None
    assert chosen.id == "memory"


def test_a_memory_is_not_folded_in_again_at_once_though_the_memory_did_not_tell_that_it_was_shown() -> None:
    found = folded(InjectionPolicy(EAGER), 60, step_s=4.0, candidates=many(3))
    assert len({chosen.id for _, chosen in found[:3]}) == 3


def test_seed_pictures_are_the_stronger_medicine_and_kept_for_what_needs_it() -> None:
    both = [MEMORY, replace(MEMORY, id="seed", source=Source.SEED)]
    lost, uneasy = first(EAGER, replace(ILL, level=1.0), both), first(EAGER, replace(ILL, level=0.4), both)
    assert lost is not None
    assert uneasy is not None
    assert (lost.id, uneasy.id) == ("seed", "memory")
    assert "a seed picture" in lost.reason


def test_strength_rises_with_the_level_and_stays_within_its_bounds() -> None:
    found = [first(EAGER, replace(ILL, level=level), [MEMORY]) for level in (0.35, 0.6, 0.8, 1.0, 175.0)]
    chosen = [one for one in found if one is not None]
    assert len(chosen) == 5
    strengths = [one.strength for one in chosen]
    assert strengths == sorted(strengths)
    assert (strengths[0], strengths[-1]) == (EAGER.weakest, EAGER.strongest)
    assert {one.keyframes for one in chosen} == {EAGER.keyframes}


ALIKE = replace(MEMORY, id="alike", similarity=0.88, score=0.3)
FRESH = Candidate("fresh", similarity=0.55, score=0.5, last_shown_s=math.inf, source=Source.FRESH)


def saved_up(settings: InjectionSettings = EAGER, keyframes: int = 50) -> InjectionPolicy:
    """A policy that has seen a healthy dream for so long, and has its budget."""
    policy = InjectionPolicy(settings)
    for at in range(keyframes):
        policy.decide(float(at), WELL, [])
    return policy


@pytest.mark.parametrize(
    "candidates",
    [
        pytest.param([], id="nothing is remembered"),
        pytest.param([ALIKE], id="all of it is like the present"),
        pytest.param([replace(MEMORY, last_shown_s=60.0)], id="all of it was shown just now"),
    ],
)
def test_where_nothing_remembered_does_a_fresh_picture_is_wanted(candidates: list[Candidate]) -> None:
    assert saved_up().wants_fresh(50.0, ILL, candidates)


def test_a_memory_that_does_well_makes_a_fresh_picture_needless_and_so_does_a_fresh_one_that_is_there() -> (
    None
):
    policy = saved_up()
    assert not policy.wants_fresh(50.0, ILL, [ALIKE, MEMORY])
    assert not policy.wants_fresh(50.0, ILL, [ALIKE, FRESH])


def test_a_healthy_dream_wants_no_fresh_picture() -> None:
    assert not saved_up().wants_fresh(50.0, WELL, [])


def test_a_fresh_picture_is_wanted_a_little_before_the_arc_may_begin_and_not_while_one_is_under_way() -> None:
    settings = InjectionSettings(cooldown_s=0.0)
    policy, wanted, folded_at = InjectionPolicy(settings), [], []
    for at in range(60):
        candidates = [FRESH] if wanted else []
        if not folded_at and policy.wants_fresh(float(at), ILL, candidates):
            wanted.append(at)
        chosen = policy.decide(float(at), ILL, candidates)
        if chosen is not None:
            folded_at.append(at)
            assert not policy.wants_fresh(float(at), ILL, [])
    assert len(wanted) == 1
    assert 1 <= folded_at[0] - wanted[0] <= settings.lead


def test_while_a_fresh_picture_is_on_its_way_no_poor_memory_is_folded_in_instead() -> None:
    policy = saved_up()
    assert policy.decide(50.0, ILL, [ALIKE], fresh_comes=True) is None
    chosen = policy.decide(51.0, ILL, [ALIKE, FRESH], fresh_comes=True)
    assert chosen is not None
    assert (chosen.id, chosen.source) == ("fresh", Source.FRESH)
    assert "for want of a memory that would do, a fresh picture of similarity 0.55" in chosen.reason


def test_a_fresh_picture_that_is_there_is_folded_in_though_it_is_plain_and_no_other_is_wanted() -> None:
    policy, plain = saved_up(), replace(FRESH, score=0.0, similarity=0.88)
    assert policy.score(plain, 0.7, 50.0) < EAGER.enough
    assert not policy.wants_fresh(50.0, ILL, [plain])
    chosen = policy.decide(50.0, ILL, [plain], fresh_comes=True)
    assert chosen is not None
    assert chosen.source is Source.FRESH


def test_a_fresh_picture_that_is_just_like_the_dream_helps_nobody_and_another_is_wanted() -> None:
    policy, copy = saved_up(), replace(FRESH, similarity=0.97)
    assert policy.wants_fresh(50.0, ILL, [copy])
    assert policy.decide(50.0, ILL, [copy]) is None


def test_where_no_fresh_picture_can_be_had_a_poor_memory_is_better_than_nothing() -> None:
    chosen = saved_up().decide(50.0, ILL, [ALIKE], fresh_comes=False)
    assert chosen is not None
    assert chosen.source is Source.MEMORY


def test_seed_pictures_that_rested_make_fresh_ones_needless() -> None:
    seed = replace(MEMORY, id="seed", source=Source.SEED)
    assert not saved_up().wants_fresh(50.0, ILL, [seed])


@given(st.floats(), st.floats(), st.floats(), st.sampled_from(Source), st.floats(), st.floats(0, 1e9))
def test_whatever_numbers_come_in_a_score_is_between_0_and_1(
    similarity: float, score: float, last_shown_s: float, source: Source, urgency: float, now_s: float
) -> None:
    one = Candidate("x", similarity, score, last_shown_s, source)
    assert 0.0 <= InjectionPolicy().score(one, urgency, now_s) <= 1.0


@pytest.mark.parametrize("keyframes", [100, 1000, 3000])
def test_at_most_the_share_of_keyframes_is_touched_however_ill_the_dream_is(keyframes: int) -> None:
    found = folded(InjectionPolicy(), keyframes, step_s=30.0, candidates=many(40))
    touched = sum(chosen.keyframes for _, chosen in found)
    assert 0.5 * 0.15 * keyframes <= touched <= 0.15 * keyframes


def test_the_pace_is_that_of_the_clock_however_fast_the_engine_is() -> None:
    settings = InjectionSettings(share=1.0, cooldown_s=60.0, keyframes=1)
    counts = [
        len(folded(InjectionPolicy(settings), round(3600 / step_s), step_s=step_s, candidates=many(40)))
        for step_s in (0.25, 1.0, 4.0)
    ]
    assert all(50 <= count <= 60 for count in counts), counts


def test_nothing_is_decided_while_an_arc_is_under_way_or_cooling_down() -> None:
    settings = InjectionSettings(share=1.0, cooldown_s=40.0)
    found = folded(InjectionPolicy(settings), 500, step_s=4.0, candidates=many(40))
    for (before_s, chosen), (after_s, _) in pairwise(found):
        arc_over_s = before_s + 4.0 * (DELAY - 1 + chosen.keyframes)
        assert after_s - arc_over_s >= settings.cooldown_s


def test_a_restart_with_another_clock_keeps_cooldown_savings_and_what_was_used() -> None:
    policy = InjectionPolicy(InjectionSettings(share=1.0, cooldown_s=100.0))
    found = folded(policy, 30, step_s=1.0, candidates=many(2))
    assert len(found) == 1
    stored = json.loads(json.dumps(policy.state(30.0), allow_nan=False))

    again = InjectionPolicy(InjectionSettings(share=1.0, cooldown_s=100.0))
    assert again.restore(stored, 5000.0)
    later = folded(again, 200, step_s=1.0, candidates=many(2), start_s=5000.0)
    assert later[0][0] >= 5070.0
    assert later[0][1].id != found[0][1].id
    assert again.state(5000.0)["saved"] != InjectionPolicy().state(5000.0)["saved"]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        {"version": 9},
        {"version": 1, "saved": "much", "quiet_s": 0, "used_s_ago": {}},
        {"version": 1, "saved": math.nan, "quiet_s": 0, "used_s_ago": {}},
        {"version": 1, "saved": 0, "quiet_s": 0, "used_s_ago": {"x": None}},
        {"version": 1, "saved": 0, "quiet_s": 0, "used_s_ago": []},
    ],
)
def test_a_state_that_is_none_of_ours_changes_nothing(broken: object) -> None:
    policy = InjectionPolicy()
    folded(policy, 50, step_s=1.0, candidates=many(2))
    before = policy.state(50.0)
    assert not policy.restore(broken, 50.0)
    assert policy.state(50.0) == before


def test_what_is_remembered_of_used_memories_is_bounded() -> None:
    settings = InjectionSettings(share=1.0, cooldown_s=0.0, keyframes=1)
    policy = InjectionPolicy(settings)
    for number in range(1200):
        policy.decide(number * 10.0, ILL, [replace(MEMORY, id=str(number))])
    used = policy.state(0.0)["used_s_ago"]
    assert isinstance(used, dict)
    assert len(used) == 256
