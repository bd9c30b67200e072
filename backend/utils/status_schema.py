"""What the status file says: its states, its reasons and its shape, as one long table.

The controller fills a :class:`StatusBody`, the StatusWriter adds the head and the flat keys (`flat_keys.py`),
:func:`status_json_schema` publishes the shape.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
)

from backend.utils.picture_formats import FORMATS

SCHEMA_VERSION: Literal[1] = 1
MAX_TEXT = 4000
"""Characters of any text in the status; what is longer is cut."""


class State(StrEnum):
    """What the machine is doing."""

    STARTING = "starting"
    BUFFERING = "buffering"
    DREAMING = "dreaming"
    RESTING = "resting"
    REMEMBERING = "remembering"
    PAUSED = "paused"
    STOPPING = "stopping"


class ReasonCode(StrEnum):
    """Why the state is what it is."""

    OK = "ok"
    ENGINE_UNREACHABLE = "engine_unreachable"
    ENGINE_ERROR = "engine_error"
    ENGINE_SLOW = "engine_slow"
    MODEL_MISSING = "model_missing"
    GRAPH_REJECTED = "graph_rejected"
    BAD_PICTURES = "bad_pictures"
    STORAGE = "storage"
    CONFIG = "config"
    PROMPTS = "prompts"
    SCHEDULE = "schedule"
    MACHINE = "machine"
    USER = "user"
    FAULT = "fault"


WidgetWord = Literal["initializing", "live", "paused", "error"]
DaemonWord = Literal["running", "paused", "stopping"]
EngineWord = Literal["running", "starting", "unreachable"]
ControllerWord = Literal["starting", "running", "paused", "stopping"]


def _clean(value: object) -> object:
    """Texts come from servers and disks: what UTF-8 cannot say is replaced, what is too long is cut."""
    if not isinstance(value, str):
        return value
    return value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")


def _known_format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"not one of {', '.join(FORMATS)}")
    return name


Text = Annotated[str, BeforeValidator(_clean)]
Count = NonNegativeInt
Seconds = NonNegativeFloat


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Reason(_Part):
    """Why the state is what it is."""

    code: ReasonCode = Field(default=ReasonCode.OK, description="for programs")
    sentence: Text = Field(
        default="all is well", description="for people; says what to do where somebody is needed"
    )


class FrameStatus(_Part):
    """The newest shown frame; its file never changes and is whole before it is named here."""

    sequence: PositiveInt = Field(description="number of the frame; never goes backwards")
    file: Text = Field(description='relative to the output folder, e.g. "frames/000000123.png"')
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file's bytes, lower-case hex")
    bytes: Count = Field(description="size of the file in bytes")
    width: PositiveInt = Field(description="pixels")
    height: PositiveInt = Field(description="pixels")
    format: Annotated[str, AfterValidator(_known_format)] = Field(
        description="of the file's bytes", json_schema_extra={"enum": list(FORMATS)}
    )
    kind: Literal["keyframe", "in_between", "cross_fade", "replay", "title"] = Field(
        description="where it comes from; cross_fade: made of two neighbours, where the engine is slow"
    )
    theme: Text = Field(description='theme it was dreamt under, "" for none')
    shown_at: Text = Field(description="UTC, ISO 8601 with milliseconds")
    duration_s: Seconds = Field(description="how long it is to be shown, in seconds")


class EngineStatus(_Part):
    """Who paints."""

    kind: Literal["embedded", "comfyui", "none"] = Field(default="none", description="none: not chosen yet")
    url: Text = Field(default="", description="its address")
    version: Text = Field(default="", description="as it calls itself")
    device: Text = Field(default="", description="what it computes on")
    reachable: bool = Field(default=False, description="whether it answered when last asked")
    socket: Literal["open", "stale", "closed"] = Field(
        default="closed",
        description="its WebSocket; stale: open, but nothing is heard, so HTTP is asked instead",
    )
    checkpoint: Text = Field(default="", description="model file that paints")
    family: Text = Field(default="", description="model family, e.g. SD 1.5")
    node_pack: Literal["used", "idle", "off", "old", "new", "missing"] | None = Field(
        default=None,
        description="Dreamloop's own nodes on a ComfyUI: used; idle: this dream has no use for them; "
        "off: by the settings; old, new: of a version that does not fit; null without a ComfyUI",
    )
    left_files: int = Field(
        default=0,
        ge=0,
        description="empty files left in ComfyUI's output and temp folders: it deletes none",
    )
    left_files_a_day: float = Field(
        default=0.0, ge=0, description="how many of them a day, at this run's rate"
    )
    last_error: Text | None = Field(
        default=None, description="newest complaint, null once a keyframe has come"
    )


class DreamStatus(_Part):
    """What is dreamt, and how much so far in this run."""

    mode: Literal["txt2img", "img2img", "interpolate", "hybrid"] = Field(
        default="hybrid", description="as configured"
    )
    theme: Text = Field(default="", description="of the newest keyframe")
    prompt: Text = Field(default="", description="of the newest keyframe")
    negative: Text = Field(default="", description="negative prompt of the newest keyframe")
    seed: Count | None = Field(default=None, description="of the newest keyframe")
    denoise: float | None = Field(
        default=None, ge=0, le=1, description="of the newest keyframe; 1 is wholly new"
    )
    width: Count = Field(default=0, description="pixels of the newest keyframe, 0 before the first")
    height: Count = Field(default=0, description="pixels of the newest keyframe, 0 before the first")
    number: Count = Field(
        default=0,
        description="of the newest keyframe, over restarts, 0 before the first; a failed one leaves a hole",
    )
    parent: Count | None = Field(
        default=None, description="number of the keyframe that it goes on from, null for a fresh one"
    )
    keyframes: Count = Field(default=0, description="keyframes received and found good, over restarts")
    in_betweens: Count = Field(default=0, description="in-betweens received and found good, over restarts")
    rejected: Count = Field(default=0, description="pictures refused as broken, black or flat, over restarts")
    rejected_by: dict[str, Count] = Field(default={}, description="the same by reason, in this run")
    failed_jobs: Count = Field(default=0, description="engine jobs that ended as failed, over restarts")
    retries: Count = Field(default=0, description="keyframes asked for again after a failure, over restarts")
    keyframe_seconds_total: Seconds = Field(
        default=0.0, description="engine seconds of all keyframes of this run"
    )
    keyframe_s: Seconds | None = Field(
        default=None, description="engine seconds that the newest keyframe took"
    )
    decoder: Text = Field(default="engine", description="who decodes in-betweens")
    decoder_problem: Text | None = Field(
        default=None, description="why it is not the decoder of the settings; null where it is"
    )


class DisplayStatus(_Part):
    """How it is shown."""

    fps: float = Field(default=0.0, ge=0, description="frames a second, as configured")
    shown_fps: float = Field(default=0.0, ge=0, description="frames a second, as measured lately")
    pace: float = Field(
        default=1.0, ge=0, description="1 as configured; below, time is stretched for a slow engine"
    )
    buffer_seconds: Seconds = Field(default=0.0, description="seconds ready to be shown")
    buffer_target_seconds: Seconds = Field(default=0.0, description="seconds at which the engine may rest")
    decoded_share: float = Field(
        default=0.0, ge=0, le=1, description="of the frames shown of late: those that the engine decoded"
    )
    cross_faded_share: float = Field(
        default=0.0, ge=0, le=1, description="of the frames shown of late: those made of their neighbours"
    )
    skipped: Count = Field(default=0, description="frames that never came and were passed over")
    frames_shown: Count = Field(default=0, description="frames shown in this run")


class StorageStatus(_Part):
    """What the disk holds."""

    free_bytes: Count | None = Field(default=None, description="free on the disk, null if unknown")
    scarce: bool = Field(default=False, description="whether only what a display needs is written")
    frames: Count = Field(default=0, description="frames kept, which could be shown again")
    frame_bytes: Count = Field(default=0, description="their bytes")
    budget_bytes: Count = Field(default=0, description="bytes that all of it may take")
    keyframes: Count = Field(default=0, description="keyframes of which the latent is kept, for films")
    keyframe_bytes: Count = Field(default=0, description="their bytes")
    keyframe_seconds: Seconds = Field(default=0.0, description="seconds of dream that they hold")
    last_error: Text | None = Field(
        default=None, description="newest failure to write, null once writing works"
    )


class SaidStatus(_Part):
    """Words that somebody said to the dream."""

    text: Text = Field(description="what it dreams of")
    seconds_left: Seconds = Field(description="seconds until the themes go on")


class PromptsStatus(_Part):
    """Which themes there are."""

    themes: tuple[Text, ...] = Field(default=(), description="names of the themes in use")
    problems: tuple[Text, ...] = Field(
        default=(), description="what is wrong in the prompts folder, with lines"
    )
    said: SaidStatus | None = Field(
        default=None, description="what it was told to dream of, null while the themes go on"
    )


class ConfigProblemStatus(_Part):
    """Something wrong with the settings file as it is now."""

    source: Text = Field(description="file, or environment variable")
    line: Count | None = Field(default=None, description="from 1; null where there is none")
    column: Count | None = Field(default=None, description="from 1; null where there is none")
    key: Text = Field(description="dotted key, e.g. dream.denoise")
    value: Text = Field(description="as written; secrets are kept back")
    wish: Text = Field(description="what would be right")


class ConfigPendingStatus(_Part):
    """A setting that was edited and waits for a restart."""

    key: Text = Field(description="dotted key, e.g. comfyui.url")
    now: Text = Field(description="value that holds; secrets are kept back")
    next: Text = Field(description="value from the next start on; secrets are kept back")


class ConfigStatus(_Part):
    """Whether the settings that hold are those of the file."""

    file: Text | None = Field(default=None, description="where they are read from, null for defaults only")
    ok: bool = Field(default=True, description="whether the file as it is now can be used")
    taken_at: Text | None = Field(
        default=None, description="when they were last taken over, UTC, ISO 8601; the start counts"
    )
    taken: Count = Field(default=0, description="edits taken over in this run, without a restart")
    refused: Count = Field(default=0, description="edits of this run that could not be used")
    problems: tuple[ConfigProblemStatus, ...] = Field(
        default=(), description="what is wrong with the file; all settings before it hold meanwhile"
    )
    needs_restart: tuple[ConfigPendingStatus, ...] = Field(
        default=(), description="what it says that holds only from the next start on"
    )


_MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"


class _Head(_Part):
    schema_version: Literal[1] = Field(default=1, description="changes when a key changes its meaning")
    boot_id: str = Field(description="another one at each start of the daemon")
    pid: PositiveInt = Field(description="process id of the daemon")
    sequence: PositiveInt = Field(description="counts the status writes of this boot, from 1, without gaps")
    updated_at: str = Field(
        pattern=_MOMENT, description="UTC, ISO 8601 with milliseconds; older than 5 s means stalled"
    )
    uptime_s: Seconds = Field(description="seconds since start, by the monotonic clock")


class CollapseStatus(_Part):
    """Whether the dream goes round in circles."""

    level: NonNegativeFloat = Field(default=0.0, le=1, description="0: healthy, 1: lost")
    collapsed: bool = Field(default=False, description="whether it counts as collapsed")
    kind: Literal["still", "drift", "oscillation"] | None = Field(
        default=None, description="how it repeats itself, null while it does not"
    )
    armed: bool = Field(default=False, description="whether enough was seen to tell")
    coverage: NonNegativeFloat = Field(default=1.0, description="share of a healthy dream's variety")
    effective_number: NonNegativeFloat = Field(default=1.0, description="distinct pictures of late")
    dispersion: NonNegativeFloat = Field(default=0.0, description="mean distance of two pictures of late")
    step: NonNegativeFloat = Field(default=0.0, description="mean distance from one keyframe to the next")
    nearest_memory: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="mean similarity of late to the nearest memory from before, null where there is none",
    )


class InjectionStatus(_Part):
    """A picture that was folded into the dream."""

    at: Text = Field(description="when it was decided, UTC, ISO 8601")
    keyframe: Count = Field(description="on which keyframe; it acts two later")
    memory: Text = Field(description="id of the memory; of a fresh picture that is not remembered, its own")
    source: Literal["memory", "seed", "fresh"] = Field(
        default="memory", description="a memory, a picture of the user's, or one dreamt afresh for it"
    )
    strength: NonNegativeFloat = Field(description="share of the way to it, 0 to 1")
    keyframes: Count = Field(description="over how many keyframes")
    reason: Text = Field(description="why")


class MemoryStatus(_Part):
    """What is remembered, and what comes of it."""

    enabled: bool = Field(default=True, description="whether there is to be one, by the settings")
    ready: bool = Field(default=False, description="whether all of it is loaded")
    entries: Count = Field(default=0, description="pictures")
    bytes: Count = Field(default=0, description="their size on disk")
    matcher: Text = Field(default="", description="who judges pictures")
    problem: Text | None = Field(default=None, description="what is wrong with memory or matcher")
    judged: Count = Field(default=0, description="keyframes judged in this run")
    remembered: Count = Field(default=0, description="of them remembered")
    left_out: Count = Field(default=0, description="keyframes for which there was no time")
    score: NonNegativeFloat | None = Field(default=None, description="beauty of the newest, 0 to 1")
    shows_prompt: float | None = Field(
        default=None, description="how well the newest shows its prompt; null without words"
    )
    collapse: CollapseStatus = Field(default=CollapseStatus(), description="is it going in circles?")
    injections: Count = Field(default=0, description="pictures folded in in this run")
    fresh: Count = Field(default=0, description="pictures dreamt beside the loop, to be folded in")
    fresh_failed: Count = Field(default=0, description="such pictures that did not come")
    fresh_s: Seconds = Field(default=0.0, description="seconds of the engine that they took")
    events: tuple[InjectionStatus, ...] = Field(default=(), description="the newest of them, oldest first")


class GpuStatus(_Part):
    """The GPU, as its driver tells; several as one."""

    name: Text = Field(description="as the driver calls it")
    memory_total: Count = Field(description="bytes")
    memory_used: Count = Field(description="bytes, by anybody")
    memory_of_others: Count | None = Field(description="bytes that other programs hold, null if unknown")
    load: NonNegativeFloat | None = Field(description="share of its time, null if unknown")
    load_of_others: NonNegativeFloat | None = Field(description="by other programs, null if unknown")


class MachineStatus(_Part):
    """The machine, and whether it is left to somebody else."""

    yields: bool = Field(default=False, description="whether the dream rests for somebody else")
    why: Text | None = Field(default=None, description="for whom, null while the dream has the machine")
    cpu: NonNegativeFloat | None = Field(default=None, description="share of all cores, null if unknown")
    memory_free: NonNegativeFloat | None = Field(default=None, description="share, null if unknown")
    on_battery: bool | None = Field(default=None, description="null if unknown")
    gpu: GpuStatus | None = Field(default=None, description="null where there is none, or it does not answer")


class RestartsStatus(_Part):
    """What Dreamloop has ended and begun anew for the dream's sake; kills and crashes are not among them."""

    own: Count = Field(default=0, description="times that this process began anew by itself")
    own_why: Text | None = Field(default=None, description="why, the last time; null for never")
    engine: Count = Field(default=0, description="engines of its own begun anew in this run")
    engine_why: Text | None = Field(default=None, description="why, the last time; null for never")


class StatusBody(_Part):
    """What the controller knows; the rest of the status follows from it."""

    state: State = Field(description="what the machine is doing")
    reason: Reason = Field(default=Reason(), description="why the state is what it is")
    frame: FrameStatus | None = Field(
        default=None, description="the newest shown frame, null before the first"
    )
    engine: EngineStatus = Field(default=EngineStatus(), description="who paints")
    dream: DreamStatus = Field(default=DreamStatus(), description="what is dreamt")
    display: DisplayStatus = Field(default=DisplayStatus(), description="how it is shown")
    storage: StorageStatus = Field(default=StorageStatus(), description="what the disk holds")
    memory: MemoryStatus = Field(default=MemoryStatus(), description="what is remembered")
    machine: MachineStatus = Field(default=MachineStatus(), description="what else it does")
    prompts: PromptsStatus = Field(default=PromptsStatus(), description="which themes there are")
    config: ConfigStatus = Field(default=ConfigStatus(), description="do the settings of the file hold?")
    hangs: Text | None = Field(
        default=None, description="which part stands still though it should not, null while the dream lives"
    )
    restarts: RestartsStatus = Field(
        default=RestartsStatus(), description="what was ended and begun anew by itself"
    )
    note: Text = Field(default="", description="one thing worth knowing about this run, for people")


class _FlatKeys(_Part):
    """What widgets written for earlier daemons parse; each follows from the keys above."""

    frame_number: Count = Field(description="= frame.sequence, 0 before the first")
    generation_time: Seconds = Field(description="= dream.keyframe_s in seconds, 0 before the first")
    status: WidgetWord = Field(description="state and reason in one old word")
    current_mode: str = Field(description="= dream.mode")
    current_prompt: str = Field(description="= dream.prompt")
    cache_size: Count = Field(description="= memory.entries")
    cache_injections: Count = Field(description="= memory.injections")
    uptime_hours: NonNegativeFloat = Field(description="uptime_s in hours")
    last_update: str = Field(description="= updated_at")
    daemon_status: DaemonWord = Field(description="of this process")
    comfyui_status: EngineWord = Field(description="of the engine, whichever it is")
    controller_status: ControllerWord = Field(description="of the dream loop")
    is_buffering: bool = Field(description="state is starting or buffering")
    buffer_filled: Count = Field(description="frames ready to be shown, at the configured rate")
    buffer_target: Count = Field(description="frames at which the engine may rest")
    keyframes_generated: Count = Field(description="= dream.keyframes")
    interpolations_generated: Count = Field(description="= dream.in_betweens")


class Status(_FlatKeys, StatusBody, _Head):
    """Everything that Dreamloop tells whoever watches, in one flat-topped JSON object."""


def utc_text(moment: datetime) -> str:
    """``2026-01-02T03:04:05.678Z``; a moment without a zone is taken as local time."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def status_json_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of status.json."""
    schema = Status.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
