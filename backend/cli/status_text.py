"""A status as lines that a person reads."""

from __future__ import annotations

from backend.cli.live_line import printable
from backend.utils.status_schema import Status

_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def lines_of(status: Status) -> list[str]:
    """The whole status in about a dozen lines."""
    told = {
        "reason": status.reason.sentence,
        "picture": _picture(status),
        "dream": _dream(status),
        "display": _display(status),
        "engine": _engine(status),
        "decoder": _decoder(status),
        "memory": _memory(status),
        "storage": _storage(status),
        "so far": _so_far(status),
        "restarts": _restarts(status),
        "themes": ", ".join(status.prompts.themes) or "none",
        "problems": "; ".join(status.prompts.problems),
        "settings": _settings(status),
        "note": status.note,
    }
    return [f"{name:<9}{printable(text)}" for name, text in told.items() if text]


def duration(seconds: float) -> str:
    """``12 s``, ``3 min``, ``5.1 h``, ``2.0 days``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _picture(status: Status) -> str:
    frame = status.frame
    if frame is None:
        return "none yet"
    kind = frame.kind.replace("_", "-")
    return f"number {frame.sequence}, {kind}, {frame.width}x{frame.height} {frame.format}, {frame.file}"


def _dream(status: Status) -> str:
    dream = status.dream
    return f"{dream.mode}; {dream.theme}: {dream.prompt}" if dream.prompt else dream.mode


def _display(status: Status) -> str:
    display = status.display
    buffer = f"{display.buffer_seconds:.1f} of {display.buffer_target_seconds:g} s buffered"
    return f"{display.shown_fps:.1f} of {display.fps:g} frames/s, pace {display.pace:.2f}, {buffer}"


def _engine(status: Status) -> str:
    engine = status.engine
    if engine.kind == "none":
        return "not chosen yet"
    answers = "answers" if engine.reachable else "does not answer"
    who = " ".join(part for part in (engine.kind, engine.version, engine.url) if part)
    parts = [f"{who} {answers}", f"socket {engine.socket}", engine.checkpoint, engine.last_error or ""]
    return ", ".join(part for part in parts if part)


def _decoder(status: Status) -> str:
    """Only where it is not the engine with the keyframes' own VAE, or should not be."""
    dream = status.dream
    if dream.decoder == "engine" and dream.decoder_problem is None:
        return ""
    return "; ".join(filter(None, (f"in-betweens by {dream.decoder}", dream.decoder_problem)))


def _restarts(status: Status) -> str:
    """Only where there were any."""
    restarts = status.restarts
    parts = [
        f"began anew {restarts.own} times, last since {restarts.own_why}" if restarts.own else "",
        f"the engine {restarts.engine} times, last since {restarts.engine_why}" if restarts.engine else "",
    ]
    return "; ".join(filter(None, parts))


def _memory(status: Status) -> str:
    memory = status.memory
    if not memory.enabled:
        return "switched off (memory.enabled: false)"
    if not memory.matcher:
        return f"none: {memory.problem}" if memory.problem else ""
    collapse = memory.collapse
    parts = [
        f"{memory.entries} pictures, {_bytes(memory.bytes)}{'' if memory.ready else ', still loading'}",
        f"judged by {memory.matcher}",
        f"in circles ({collapse.kind}, {collapse.level:.2f})" if collapse.collapsed else "",
        f"{memory.injections} folded in" if memory.injections else "",
        memory.problem or "",
    ]
    return ", ".join(part for part in parts if part)


def _storage(status: Status) -> str:
    storage = status.storage
    kept = f"{storage.frames} frames kept, {_bytes(storage.frame_bytes)} of {_bytes(storage.budget_bytes)}"
    return f"{kept}; {storage.last_error}" if storage.last_error else kept


def _settings(status: Status) -> str:
    """Only where the file says something else than what holds."""
    config = status.config
    wrong = [f"{one.source}:{one.line or ''} {one.key}: {one.wish}" for one in config.problems]
    waiting = [f"{one.key} is {one.now}, from the next start {one.next}" for one in config.needs_restart]
    return "; ".join([*(["kept as they were:"] if wrong else []), *wrong, *waiting])


def _so_far(status: Status) -> str:
    dream, display = status.dream, status.display
    return (
        f"{dream.keyframes} keyframes, {dream.in_betweens} in-betweens, {display.frames_shown} frames shown, "
        f"{display.skipped} skipped, {dream.rejected} rejected, {dream.failed_jobs} failed jobs, "
        f"up {duration(status.uptime_s)}"
    )


def _bytes(count: int) -> str:
    for unit, size in _UNITS:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
