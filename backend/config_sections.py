"""The sections of config.yaml as frozen models: every key with its default, its range and what it does.

To add a key: one line in its section below, one commented line in config.yaml (a test compares them), and
the code that uses it. Defaults are written here as a person would write them. A key of `_live` holds at once
when the file is edited while it dreams: a part takes it in backend/live_assembly.py. The others wait for the
next start.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from backend.config_lists import Adapters, Command, Headers, Hours, Names
from backend.config_values import (
    AUTO,
    Broker,
    Bytes,
    Cap,
    File,
    Folder,
    Format,
    MatcherName,
    ModelName,
    Name,
    PictureSize,
    Switch,
    Topic,
    Url,
    may_be_auto,
)

_LIVE = "x-live"


def _key(default: str, what: str, **limits: float) -> Any:
    return Field(default=default, validate_default=True, description=what, **limits)  # type: ignore[call-overload]


def _live(default: str, what: str, **limits: float) -> Any:
    return Field(  # type: ignore[call-overload]
        default=default, validate_default=True, description=what, json_schema_extra={_LIVE: True}, **limits
    )


def is_live(field: FieldInfo) -> bool:
    """Whether an edit holds at once, without a restart."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get(_LIVE))


def _section() -> Any:
    return Field(default_factory=dict, validate_default=True)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _auto_is_none(cls, value: object, info: ValidationInfo) -> object:
        is_auto = value == AUTO and may_be_auto(cls.model_fields[info.field_name or ""])
        return None if is_auto else value


class ComfyUISettings(Section):
    """Which engine paints, and how long to wait for it."""

    url: Url | None = _key(
        AUTO, "Address of the ComfyUI that paints; auto looks on this machine, else paints itself"
    )
    headers: Headers = _key("{}", "Extra HTTP headers, e.g. what a proxy before it asks for; never logged")
    launch: Command = _key("[]", "Command that starts ComfyUI at comfyui.url; it is stopped with Dreamloop")
    device: Literal["cpu"] | None = _key(AUTO, "cpu starts comfyui.launch with --cpu")
    family: Name | None = _key(AUTO, "Model family; auto tells it from names and metadata")
    checkpoint: ModelName | None = _key(
        AUTO, "Model file in ComfyUI's checkpoints; auto takes the first one it knows"
    )
    diffusion_model: ModelName | None = _key(
        AUTO, "Model file in ComfyUI's diffusion_models, for families that come in parts"
    )
    text_encoders: Names = _key("[]", "Files in ComfyUI's text_encoders; none finds them by their names")
    vae: ModelName | None = _key(AUTO, "File in ComfyUI's vae, for families that come in parts")
    node_pack: Literal["never"] | None = _live(
        AUTO, "Whether Dreamloop's own nodes are used where ComfyUI has them; never leaves them alone"
    )
    job_timeout_seconds: float = _live("300", "Seconds after which a job counts as failed", ge=5, le=3600)
    load_timeout_seconds: float = _key(
        "120", "Seconds that a node may run without a sign of progress", ge=5, le=3600
    )
    step_timeout_seconds: float = _key("15", "Seconds between two sampling steps", ge=1, le=3600)
    connect_timeout_seconds: float = _key(
        "5", "Seconds to wait for a connection to the engine", ge=0.5, le=60
    )
    max_json: Cap = _key("8 MB", "The most that an answer about queue or history may have")
    max_file: Cap = _key("64 MB", "The most that a picture, a latent or the list of nodes may have")


class DreamSettings(Section):
    """How the dream goes on from picture to picture."""

    mode: Literal["txt2img", "img2img", "interpolate", "hybrid"] = _live(
        "hybrid", "Whether keyframes go on from each other, and whether the time between them is filled"
    )
    workflow: ModelName | None = _key(
        AUTO, "A workflow of your own in prompts/workflows; auto builds one for the model"
    )
    adapters: Adapters = _live("[]", "LoRAs, ControlNets and other changes to the model's way, in order")
    size: PictureSize | None = _live(AUTO, "Size of the pictures; auto takes what the model paints best")
    denoise: float = _live("0.45", "How far a keyframe may leave the one before; 1 forgets it", ge=0.05, le=1)
    seconds_per_keyframe: float = _live("4", "Seconds of dream from one keyframe to the next", ge=0.5, le=600)
    steps: int | None = _live(AUTO, "Sampling steps of a keyframe; auto takes the model's own", ge=1, le=150)
    cfg: float | None = _live(
        AUTO, "How strictly the prompt is obeyed; auto takes the model's own", ge=0, le=30
    )
    sampler: Name | None = _live(AUTO, "Sampler as ComfyUI calls it, e.g. euler; auto takes the model's own")
    scheduler: Name | None = _live(
        AUTO, "Scheduler as ComfyUI calls it, e.g. karras; auto takes the model's own"
    )
    seed: int | None = _key(
        AUTO, "Number that makes a dream repeatable; auto dreams anew", ge=0, le=2**63 - 1
    )
    resume: Literal["always", "never"] = _key(
        "always", "Whether a start goes on where the last run ended, or begins a new dream"
    )


class InterpolationSettings(Section):
    """How the walk between two keyframes is made."""

    path: Literal["smooth", "slerp", "lerp"] = _live(
        "smooth", "How the walk leads through the latents: past the keyframes without a kink, or straight"
    )
    pacing: Literal["uniform", "eased", "perceptual"] = _live(
        "perceptual", "How the walk is paced: by the latents, resting at keyframes, or evenly for the eye"
    )
    frames_per_job: int | None = _live(
        AUTO, "In-betweens that the engine decodes in one job; fewer need less memory", ge=1, le=512
    )
    decoder: Literal["engine", "local"] = _key("engine", "Who decodes in-betweens: the engine, or a VAE here")
    vae: File | None = _key(AUTO, "The VAE's safetensors file, for local; auto: none")
    device: Literal["cpu", "cuda", "mps"] | None = _key(
        AUTO, "What local computes on; auto: the best there is"
    )
    tiny_vae: ModelName | None = _key(
        AUTO, "Small VAE of ComfyUI's for in-betweens, e.g. taesd; auto takes the keyframes' own"
    )
    scale: float = _key("1", "Share of each side at which in-betweens are decoded", ge=0.25, le=1)


class MemorySettings(Section):
    """What is remembered, and how it comes back into the dream."""

    enabled: Switch = _key("true", "Whether there is a memory")
    folder: Folder | None = _key(AUTO, "Folder of the memory; auto: memory in storage.output")
    max_entries: int = _live("20000", "The most pictures that are remembered", ge=10, le=10_000_000)
    max_size: Bytes = _live("4 GB", "The most that the memory may take on disk")
    exact_limit: int = _key(
        "100000", "Pictures up to which neighbours are found exactly; above, nearly", ge=1000, le=10_000_000
    )
    matcher: MatcherName | None = _key(
        AUTO, "Who judges pictures: clip, perceptual, or package.module:Class; auto: clip where it is at hand"
    )
    clip_model: Name = _key("ViT-B-32", "Model of open_clip, for clip")
    clip_weights: File | None = _key(AUTO, "Its weights file; auto: what was downloaded before, if anything")
    clip_download: Literal["never", "allowed"] = _key(
        "never", "Whether the weights may be downloaded, several hundred MB"
    )
    aesthetic_head: File | None = _key(AUTO, "Linear aesthetic head for clip, a safetensors file; auto: none")
    min_score: float = _live("0", "Beauty below which a picture is not remembered", ge=0, le=1)
    injection: Literal["when_needed", "never"] = _live(
        "when_needed", "Whether memories are folded back into a dream that repeats"
    )
    cooldown_seconds: float = _live("40", "Seconds between two of them at the least", ge=0, le=86400)
    seeds: Folder | None = _key(AUTO, "Folder of your own pictures to dream toward; auto: none")


class PromptsSettings(Section):
    """What is dreamt of."""

    folder: Folder = _live("prompts", "Folder of the themes, one YAML file each")
    order: Literal["shuffled", "sequential"] = _live("shuffled", "Whether themes come by chance or by name")
    seconds_per_theme: float = _live("300", "Seconds after which the theme changes", ge=5, le=86400)
    seconds_per_prompt: float = _live(
        "60", "Seconds after which the prompt within it changes", ge=1, le=86400
    )


class DisplaySettings(Section):
    """How the dream is shown."""

    fps: float = _live("10", "Frames shown a second", ge=1, le=60)
    buffer_seconds: float = _live(
        "12", "Seconds of dream to have ready before the engine rests", ge=2, le=600
    )
    keep_seconds: float = _live("60", "Seconds that shown frames stay on disk", ge=5, le=3600)
    format: Format | None = _key(AUTO, "Format of the frames; auto leaves them as the engine sent them")
    quality: int = _key("90", "Quality of formats that lose something", ge=1, le=100)


class StorageSettings(Section):
    """Where files go, and how many."""

    output: Folder = _key("output", "Folder of the pictures")
    status: Folder = _key("status", "Folder of status.json and of the control socket")
    min_free: Bytes = _live(
        "200 MB", "What is to stay free on the disk; below, only what a display needs is written"
    )
    budget: Bytes = _live("2 GB", "The most that all kept frames may take on disk")
    keyframe_hours: float = _live(
        "24",
        "Hours of dream of which the keyframes' latents are kept, for films; 0 keeps none",
        ge=0,
        le=10_000,
    )
    keyframe_budget: Bytes = _live("500 MB", "The most that these may take on disk")


class ShimSettings(Section):
    """The pages, and the HTTP face behind them."""

    serve: Literal["always", "never"] = _key("always", "Whether a running dream serves them")
    host: Name = _key("127.0.0.1", "Address to listen on; any but this machine's own asks for a token")
    port: int = _key("8422", "Port to listen on; 0 takes a free one", ge=0, le=65535)
    token_file: Folder | None = _key(AUTO, "File with the token, mode 0600; auto: token in storage.status")
    cors_origins: Names = _key("[]", "Web pages from elsewhere that may ask, e.g. https://wall.example")
    upstream: Url | None = _key(AUTO, "Shim of the machine that dreams, where only folders are shared")


class MqttSettings(Section):
    """A device in Home Assistant, or whatever else listens at an MQTT broker."""

    broker: Broker | None = _key(AUTO, "Address of the broker; auto: none")
    username: Name | None = _key(AUTO, "Name to log in with; auto: none")
    password_file: File | None = _key(AUTO, "File with the password, readable by its owner only; auto: none")
    ca_file: File | None = _key(AUTO, "For mqtts: certificates to trust; auto: those of this machine")
    discovery_prefix: Topic = _key("homeassistant", "Where Home Assistant looks for devices")
    topic_prefix: Topic = _key("dreamloop", "Beginning of our topics; another for each Dreamloop on a broker")
    image_seconds: float = _key("5", "Seconds between two pictures at the least", ge=1, le=3600)


class MachineSettings(Section):
    """When the machine is left to somebody else; the dream goes on by itself."""

    hours: Hours = _live("[]", "Hours in which it dreams; none: always")
    yield_to: Names = _live("[]", "Programs that it rests for while they run; * stands for any letters")
    gpu_memory: float = _live(
        "0.5", "Share of the GPU's memory held by others, above which it rests", ge=0, le=1
    )
    gpu_load: float = _live("0.6", "Share of the GPU's time used by others, above which it rests", ge=0, le=1)
    on_battery: Literal["dream", "rest"] = _live("dream", "What it does on a battery")
    memory_free: float = _live("0.02", "Share of the memory that is free, below which it rests", ge=0, le=0.5)
    back_after_seconds: float = _live("30", "Seconds of quiet after which it goes on", ge=0, le=3600)
    display: Literal["remember", "dark"] = _live("remember", "What is shown while it rests")
    own_memory: Bytes = _live("6 GB", "Memory that Dreamloop itself may hold before it begins anew")
    engine_memory: Bytes = _live("32 GB", "Memory that an engine of its own may hold before it is begun anew")


class LogSettings(Section):
    """What is told while it runs."""

    level: Literal["debug", "info", "warning", "error"] = _live("info", "The least important lines to log")
    format: Literal["text", "json", "journal"] | None = _key(
        AUTO, "How lines are written; auto: for journald where it listens, else as text"
    )


class Settings(Section):
    """All settings; each part is handed its own section."""

    comfyui: ComfyUISettings = _section()
    dream: DreamSettings = _section()
    interpolation: InterpolationSettings = _section()
    memory: MemorySettings = _section()
    prompts: PromptsSettings = _section()
    display: DisplaySettings = _section()
    storage: StorageSettings = _section()
    shim: ShimSettings = _section()
    mqtt: MqttSettings = _section()
    machine: MachineSettings = _section()
    log: LogSettings = _section()


def sections() -> dict[str, type[Section]]:
    """The sections by name, in the order of config.yaml."""
    return {name: cast("type[Section]", field.annotation) for name, field in Settings.model_fields.items()}


def keys() -> dict[str, FieldInfo]:
    """Every key by its dotted name, in the order of config.yaml."""
    return {
        f"{name}.{key}": field
        for name, model in sections().items()
        for key, field in model.model_fields.items()
    }
