"""The status as Prometheus metrics: names with units, counters that only grow within a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, StateSetMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from backend.utils.status_schema import State

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "dreamloop_"

Path = tuple[str, ...]

_GAUGES: Mapping[str, tuple[Path, str]] = {
    "uptime_seconds": (("uptime_s",), "Seconds since start, by the monotonic clock"),
    "frame_sequence": (("frame", "sequence"), "Number of the newest shown frame"),
    "display_frames_per_second": (("display", "shown_fps"), "Frames shown a second, as measured lately"),
    "display_configured_frames_per_second": (("display", "fps"), "Frames a second, as configured"),
    "display_pace_ratio": (("display", "pace"), "1 as configured; below, time is stretched"),
    "buffer_seconds": (("display", "buffer_seconds"), "Seconds of dream that are ready"),
    "buffer_target_seconds": (("display", "buffer_target_seconds"), "Seconds at which the engine may rest"),
    "keyframe_seconds": (("dream", "keyframe_s"), "Engine seconds that the newest keyframe took"),
    "engine_up": (("engine", "reachable"), "Whether the engine answered when last asked"),
    "memory_entries": (("memory", "entries"), "Pictures that are remembered"),
    "memory_bytes": (("memory", "bytes"), "Their size on disk"),
    "memory_ready": (("memory", "ready"), "Whether all of the memory is loaded"),
    "collapse_level_ratio": (("memory", "collapse", "level"), "0: healthy, 1: lost"),
    "distinct_pictures": (("memory", "collapse", "effective_number"), "Distinct pictures of late"),
    "frames_kept": (("storage", "frames"), "Frames on disk"),
    "frames_kept_bytes": (("storage", "frame_bytes"), "Their size"),
    "frames_budget_bytes": (("storage", "budget_bytes"), "What they may take"),
    "config_last_reload_successful": (
        ("config", "ok"),
        "Whether the settings file could be used as it is now",
    ),
    "machine_cpu_ratio": (("machine", "cpu"), "Share of all cores that is busy"),
    "machine_memory_free_ratio": (("machine", "memory_free"), "Share of the memory that is free"),
    "machine_yields": (("machine", "yields"), "Whether the dream rests for somebody else"),
    "gpu_memory_used_bytes": (("machine", "gpu", "memory_used"), "Of the GPU's memory, by anybody"),
    "gpu_memory_of_others_bytes": (("machine", "gpu", "memory_of_others"), "Of it, by other programs"),
    "gpu_load_ratio": (("machine", "gpu", "load"), "Share of the GPU's time"),
}
_COUNTERS: Mapping[str, tuple[Path, str]] = {
    "frames_shown": (("display", "frames_shown"), "Frames shown in this run"),
    "frames_skipped": (("display", "skipped"), "Frames that never came and were passed over"),
    "keyframes": (("dream", "keyframes"), "Keyframes received and found good"),
    "in_betweens": (("dream", "in_betweens"), "In-betweens received and found good"),
    "jobs_failed": (("dream", "failed_jobs"), "Engine jobs that ended as failed"),
    "retries": (("dream", "retries"), "Keyframes asked for again after a failure"),
    "keyframe_engine_seconds": (("dream", "keyframe_seconds_total"), "Engine seconds of all keyframes"),
    "keyframes_judged": (("memory", "judged"), "Keyframes judged by the memory"),
    "keyframes_remembered": (("memory", "remembered"), "Keyframes that were remembered"),
    "injections": (("memory", "injections"), "Memories folded back into the dream"),
    "own_restarts": (("restarts", "own"), "Times that this process began anew by itself"),
    "engine_restarts": (("restarts", "engine"), "Engines of its own begun anew in this run"),
    "config_reloads": (("config", "taken"), "Edits of the settings that were taken over"),
    "config_reloads_refused": (("config", "refused"), "Edits that could not be used"),
}


def metrics_of(status: Mapping[str, Any], *, age_s: float, wall: datetime) -> bytes:
    """All metrics, in Prometheus' text format.

    Args:
        status: A status as it stands in status.json.
        age_s: Seconds since it was written.
        wall: Now, with a zone.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(list(_all(status, age_s, wall))))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = tuple(found)

    def collect(self) -> Iterable[Metric]:
        return self._found


def _all(status: Mapping[str, Any], age_s: float, wall: datetime) -> Iterator[Metric]:
    yield _gauge("status_age_seconds", "Seconds since the status was written", age_s)
    frame_age_s = _frame_age_s(status, wall)
    if frame_age_s is not None:
        yield _gauge("frame_age_seconds", "Seconds since the newest frame was shown", frame_age_s)
    for name, (path, what) in _GAUGES.items():
        value = _number(status, path)
        if value is not None:
            yield _gauge(name, what, value)
    for name, (path, what) in _COUNTERS.items():
        value = _number(status, path)
        if value is not None:
            yield CounterMetricFamily(_PREFIX + name, what, value=value)
    yield _rejects(status)
    yield StateSetMetricFamily(
        _PREFIX + "state",
        "What the machine is doing",
        {one.value: status.get("state") == one.value for one in State},
    )
    info = GaugeMetricFamily(_PREFIX + "engine_info", "Who paints", labels=["kind", "version", "checkpoint"])
    engine = status.get("engine", {})
    info.add_metric([str(engine.get(key, "")) for key in ("kind", "version", "checkpoint")], 1.0)
    yield info


def _rejects(status: Mapping[str, Any]) -> Metric:
    found = CounterMetricFamily(_PREFIX + "pictures_rejected", "Pictures refused", labels=["reason"])
    for reason, count in sorted(status.get("dream", {}).get("rejected_by", {}).items()):
        found.add_metric([str(reason)], float(count))
    return found


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, what, value=value)


def _number(status: Mapping[str, Any], path: Path) -> float | None:
    """The number at a place of the status; None where nothing is known."""
    here: Any = status
    for key in path:
        here = here.get(key) if isinstance(here, Mapping) else None
    return float(here) if isinstance(here, bool | int | float) else None


def _frame_age_s(status: Mapping[str, Any], wall: datetime) -> float | None:
    try:
        shown_at = datetime.fromisoformat(status["frame"]["shown_at"])
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, (wall.astimezone(UTC) - shown_at).total_seconds())
