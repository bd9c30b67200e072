from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

from backend.cli.live_screen import screen
from backend.utils.status_schema import (
    CollapseStatus,
    DisplayStatus,
    DreamStatus,
    MemoryStatus,
    State,
    StatusBody,
)
from backend.utils.status_writer import compose


def shown(*, live: bool = True) -> str:
    body = StatusBody(
        state=State.DREAMING,
        dream=DreamStatus(theme="sea", prompt="waves [red]and[/red] \x1b[31mfoam"),
        display=DisplayStatus(fps=10, shown_fps=9.8, buffer_seconds=7, buffer_target_seconds=12),
        memory=MemoryStatus(matcher="perceptual", collapse=CollapseStatus(armed=True, effective_number=11.2)),
    )
    status = compose(body, boot_id="b", pid=7, sequence=2, updated_at=datetime.now(UTC), uptime_s=99.0)
    console = Console(width=100, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(screen(status, "Dreamloop stalls: process 7 lives", live=live))
    return capture.get()


def test_it_shows_state_bars_and_facts() -> None:
    text = shown()
    assert "dreaming  all is well" in text
    assert "7.0 of 12 s" in text
    assert "9.8 of 10 a second" in text
    assert "11.2 distinct pictures" in text


def test_a_prompt_is_text_and_no_commands_for_the_terminal() -> None:
    text = shown()
    assert "waves [red]and[/red]" in text
    assert "\x1b[31m" not in text


def test_what_is_no_news_says_so_first() -> None:
    assert "no news  Dreamloop stalls: process 7 lives" in shown(live=False)
