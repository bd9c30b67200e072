from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backend.errors import ExportRefused
from backend.film.spans import Span, chosen, parsed_length, parsed_moment

NOW = datetime(2026, 3, 2, 21, 15, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("45", 45), ("1.5m", 90), ("1H1M1S", 3661)],
)
def test_lengths_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parsed_length(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "0", "0m", "-5m", "ten", "10 minutes", "5m1h", "1e3", "nan", "1001h"]
)
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"length of time"):
        parsed_length(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("21:00", "2026-03-02T21:00:00+01:00"),
        ("21:15:30", "2026-03-02T21:15:30+01:00"),
        ("22:00", "2026-03-01T22:00:00+01:00"),
        ("2026-03-01T08:30", "2026-03-01T08:30:00+01:00"),
        ("2026-03-01 08:30:05", "2026-03-01T08:30:05+01:00"),
        ("2026-03-01T08:30Z", "2026-03-01T08:30:00+00:00"),
    ],
)
def test_a_time_of_day_is_the_last_one_that_was(text: str, moment: str) -> None:
    assert parsed_moment(text, NOW) == datetime.fromisoformat(moment)


@pytest.mark.parametrize("text", ["", "25:00", "noon", "21", "2026-13-01T00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time"):
        parsed_moment(text, NOW)


def pick(span: Span) -> list[int]:
    """Of ten items, one a second from 100 on, each of which lasts half a second of dream."""
    return list(chosen(range(10), span, lambda item: 100.0 + item, lambda _: 0.5))


def test_the_last_seconds_are_counted_in_dream() -> None:
    assert pick(Span(last_s=2.0)) == [6, 7, 8, 9]
    assert pick(Span(last_s=1.7)) == [6, 7, 8, 9]
    assert pick(Span(last_s=1000.0)) == list(range(10))
    assert pick(Span(last_s=1.0, until=105.0)) == [4, 5]


def test_times_choose_by_the_clock() -> None:
    assert pick(Span()) == list(range(10))
    assert pick(Span(since=104.0, until=106.5)) == [4, 5, 6]
    assert pick(Span(since=200.0)) == []


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ExportRefused, match="earlier"):
        pick(Span(since=104.0, until=103.0))


def test_moments_of_other_zones_are_the_same_moment() -> None:
    assert parsed_moment("2026-03-01T08:30+00:00", NOW) == datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
