from __future__ import annotations

import pytest

from backend.utils.renewals import Renewals


def test_each_life_tells_the_next_how_many_there_were_and_why() -> None:
    environ = {"HOME": "/root"}
    first = Renewals.taken_from(environ)
    assert first == Renewals(0, None)
    environ.update(first.and_one("it holds too much").told())
    second = Renewals.taken_from(environ)
    environ.update(second.and_one("it has too many files open").told())
    assert Renewals.taken_from(environ) == Renewals(2, "it has too many files open")


def test_no_child_hears_of_it() -> None:
    environ = dict(Renewals().and_one("it holds too much").told())
    Renewals.taken_from(environ)
    assert environ == {}


@pytest.mark.parametrize("told", ["", "never", "[]", "{}", '{"count": "many", "why": ""}', '{"count": 2}'])
def test_what_makes_no_sense_counts_as_nothing(told: str) -> None:
    (name,) = Renewals().told()
    assert Renewals.taken_from({name: told}) == Renewals()
