"""``main.py status --watch``: a small live screen of what the dream is doing."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from backend.cli.live_line import printable
from backend.cli.status_text import duration, lines_of
from backend.utils.status_schema import State, Status

_COLOURS = {
    State.DREAMING: "green",
    State.RESTING: "green",
    State.REMEMBERING: "yellow",
    State.PAUSED: "yellow",
    State.STOPPING: "red",
}
_SHOWN = (
    "picture",
    "dream",
    "display",
    "engine",
    "memory",
    "storage",
    "so far",
    "settings",
    "problems",
    "note",
)
_BAR = 32


def screen(status: Status, headline: str, *, live: bool) -> RenderableType:
    """One view of a status.

    Args:
        status: The newest there is.
        headline: What to say first.
        live: Whether it is news.
    """
    colour = _COLOURS.get(status.state, "cyan") if live else "red"
    head = Text.assemble(
        (status.state.value if live else "no news", f"bold {colour}"),
        "  ",
        printable(_why(status, headline, live)),
    )
    return Panel(
        Group(head, Text(), _bars(status), Text(), _facts(status)),
        title="Dreamloop",
        subtitle=f"up {duration(status.uptime_s)}, process {status.pid}; Ctrl-C ends this view",
        border_style=colour,
    )


def _why(status: Status, headline: str, live: bool) -> str:
    return status.reason.sentence if live else headline


def _bars(status: Status) -> RenderableType:
    display, collapse = status.display, status.memory.collapse
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "ready",
        ProgressBar(
            total=max(display.buffer_target_seconds, 0.1), completed=display.buffer_seconds, width=_BAR
        ),
        f"{display.buffer_seconds:.1f} of {display.buffer_target_seconds:g} s",
    )
    table.add_row(
        "frames",
        ProgressBar(total=max(display.fps, 0.1), completed=display.shown_fps, width=_BAR),
        f"{display.shown_fps:.1f} of {display.fps:g} a second",
    )
    if collapse.armed:
        told = f"{collapse.effective_number:.1f} distinct pictures of late"
        table.add_row("variety", ProgressBar(total=1.0, completed=1.0 - collapse.level, width=_BAR), told)
    return table


def _facts(status: Status) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines_of(status):
        name, text = line[:9].strip(), line[9:]
        if name in _SHOWN:
            table.add_row(name, Text(text))
    return table
