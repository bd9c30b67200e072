from __future__ import annotations

from datetime import datetime

import pytest

from backend.utils.hours import Span, within

MONDAY = datetime(2026, 11, 30)


def at(day: int, clock: str) -> datetime:
    hour, minute = clock.split(":")
    return (
        MONDAY.replace(hour=int(hour), minute=int(minute))
        if day == 0
        else datetime(2026, 12, day, int(hour), int(minute))
    )


@pytest.mark.parametrize(
    ("span", "day", "clock", "holds"),
    [
        ("08:00-20:00", 0, "08:00", True),
        ("08:00-20:00", 0, "19:59", True),
        ("08:00-20:00", 0, "20:00", False),
        ("08:00-24:00", 0, "23:59", True),
        ("mon-fri 08:00-20:00", 5, "12:00", False),  # a Saturday
        ("fri-mon 08:00-20:00", 5, "12:00", True),
        ("sat 10:00-16:00", 5, "12:00", True),
        ("fri 22:00-02:00", 4, "23:00", True),
        ("fri 22:00-02:00", 5, "01:59", True),
        ("fri 22:00-02:00", 5, "02:00", False),
        ("fri 22:00-02:00", 4, "01:00", False),
        ("Sun 22:00-02:00", 0, "01:00", True),  # of the night to Monday
    ],
)
def test_a_span_holds_from_its_start_to_before_its_end(span: str, day: int, clock: str, holds: bool) -> None:
    assert Span.read(span).holds(at(day, clock)) is holds


@pytest.mark.parametrize(
    "text", ["", "always", "8-20", "25:00-26:00", "08:60-09:00", "xyz 08:00-09:00", "mon- 08:00-09:00"]
)
def test_what_is_no_span_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="mon-fri"):
        Span.read(text)


def test_no_hours_are_all_hours() -> None:
    assert within([], MONDAY)
    assert within(["10:00-11:00", "mon 00:00-01:00"], MONDAY)
