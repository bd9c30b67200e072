from __future__ import annotations

from backend.core.hearing import Hearing


def heard_at_once() -> Hearing:
    hearing = Hearing()
    hearing.opened("id-1", 0.0)
    hearing.message()
    return hearing


def test_a_connection_is_not_open_before_something_is_heard() -> None:
    hearing = Hearing()
    assert hearing.state == "closed"
    hearing.opened("id-1", 0.0)
    assert hearing.state == "stale"
    assert not hearing.settled
    hearing.message()
    assert hearing.state == "open"
    assert hearing.listening == 1


def test_no_status_within_a_second_after_a_post_makes_it_stale() -> None:
    hearing = heard_at_once()
    hearing.posted(hearing.heard, 10.0)
    assert not hearing.tick(10.9)
    assert hearing.state == "open"
    assert not hearing.tick(11.0)
    assert hearing.state == "stale"
    assert hearing.listening is None
    assert hearing.tick(12.0), "it had its second of grace"


def test_a_status_that_came_before_the_answer_to_the_post_counts() -> None:
    hearing = heard_at_once()
    before = hearing.heard
    hearing.message()
    hearing.posted(before, 10.0)
    hearing.tick(20.0)
    assert hearing.state == "open"


def test_the_second_runs_from_the_first_post_that_was_not_heard() -> None:
    hearing = heard_at_once()
    hearing.posted(hearing.heard, 10.0)
    hearing.posted(hearing.heard, 10.8)
    hearing.tick(11.0)
    assert hearing.state == "stale"


def test_whatever_is_heard_makes_a_stale_socket_open_again() -> None:
    hearing = heard_at_once()
    hearing.posted(hearing.heard, 10.0)
    hearing.tick(11.0)
    hearing.message()
    assert hearing.state == "open"


def test_a_server_that_does_not_greet_is_deaf_from_the_start() -> None:
    hearing = Hearing()
    hearing.opened("id-1", 0.0)
    assert not hearing.tick(1.0)
    assert hearing.settled
    assert hearing.state == "stale"


def test_a_stale_socket_is_opened_anew_at_once_but_then_only_once_a_minute() -> None:
    hearing = Hearing()
    reopened_at = []
    hearing.opened("id-0", 0.0)
    for tick in range(1, 1000):
        now = tick * 0.25
        if hearing.tick(now):
            reopened_at.append(now)
            hearing.opened(f"id-{tick}", now)
    assert reopened_at == [2.0, 62.0, 122.0, 182.0, 242.0]


def test_a_closed_socket_is_not_stale() -> None:
    hearing = heard_at_once()
    hearing.posted(hearing.heard, 10.0)
    hearing.closed()
    assert not hearing.tick(20.0)
    assert hearing.state == "closed"


def test_each_connection_has_its_own_number_and_its_own_flags() -> None:
    hearing = heard_at_once()
    hearing.named_pictures = True
    hearing.opened("id-2", 5.0)
    assert (hearing.number, hearing.client_id, hearing.named_pictures) == (2, "id-2", False)
