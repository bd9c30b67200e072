"""The engine that the settings ask for, built and made ready to be talked to."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from backend.config import ComfyUISettings, InterpolationSettings, Settings
from backend.config_lists import AdapterWish
from backend.core.adapter_files import adapters_of
from backend.core.comfyui_api import ComfyUIClient
from backend.core.comfyui_http import HttpLimits
from backend.core.comfyui_socket import SocketTimes
from backend.core.engine import DreamNeeds, Engine, EngineKind, OwnProcess
from backend.core.engine_choice import EngineChoice, choose_engine
from backend.core.engine_plan import FamilyPlanner, Planner, SamplingChoice, WorkflowPlanner
from backend.core.family_detection import family_named
from backend.core.generator import MODES
from backend.core.housekeeping import Housekeeping
from backend.core.job_actions import Patience
from backend.core.jobs import FileRef
from backend.core.latent_nodes import AS_JPEG, STREAMED, FrameFormat
from backend.core.model_choice import ModelWish, choose_models
from backend.core.resume_store import mark_of
from backend.core.supervisor import Supervised
from backend.core.workflow_files import load_workflow
from backend.decoder_assembly import decoder_problems
from backend.engine.process import EngineProcess
from backend.errors import ConfigError, EngineError, GraphUnfit, Problem, StorageError

log = logging.getLogger("dreamloop")

_PROBE_S = 2.0
_EMBEDDED_START_S = 60.0
_COMFYUI_START_S = 5.0
# The embedded engine is on this machine: one that takes longer hangs, and must not hold up the loop.
_EMBEDDED_TRANSFER_S = 15.0
_NOWHERE = "http://127.0.0.1:0"


class _Child(Supervised, Protocol):
    """A process that can be kept running."""

    def ensure_running(self, wait_s: float = 0.0) -> str: ...

    def restart(self) -> bool: ...

    @property
    def pid(self) -> int | None: ...


class _Ours(OwnProcess):
    """An engine's process that is ours."""

    def __init__(self, child: _Child, wait_s: float) -> None:
        self.supervised = child
        self._child = child
        self._wait_s = wait_s

    def ensure_running(self) -> str:
        return self._child.ensure_running(self._wait_s)

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def restart(self) -> bool:
        return self._child.restart()


def open_engine(settings: Settings, stack: ExitStack, owner: Path | None = None) -> tuple[Engine, str]:
    """Decide which engine dreams, and make ready to talk to it.

    Args:
        settings: All of them: what dreams depends on many.
        stack: Ends on its way out what is started here.
        owner: Whose our files on the server are, the same at each start; the output folder's by default.

    Returns:
        The engine, not yet connected, and a sentence or two on which one it is and why.

    Raises:
        ConfigError: What check_dream() finds.
    """
    comfyui = settings.comfyui
    check_dream(settings)
    choice = choose_engine(comfyui.url, partial(_models_at, settings), launches=bool(comfyui.launch))
    log.info("%s", choice.note)
    process, own_output = _process(settings, choice, stack)
    is_embedded = choice.kind is EngineKind.EMBEDDED
    client = ComfyUIClient(
        choice.url or _NOWHERE,
        limits=_limits(comfyui, _EMBEDDED_TRANSFER_S if is_embedded else HttpLimits.transfer_s),
        times=SocketTimes(connect_s=comfyui.connect_timeout_seconds),
        patience=Patience(load_s=comfyui.load_timeout_seconds, step_s=comfyui.step_timeout_seconds),
        headers={} if is_embedded else comfyui.headers.as_dict(),
        # An engine of our own goes with us, and who only looks has no jobs to be found again.
        mark="" if is_embedded or owner is not None else mark_of(settings.storage.output),
    )
    house = Housekeeping(
        client,
        instance=_instance(owner or settings.storage.output),
        hour=lambda: f"{datetime.now():%Y%m%d%H}",
        clock=time.monotonic,
        own_output=own_output,
    )
    engine = Engine(
        client,
        choice.kind,
        planner_for(settings, choice.kind),
        house,
        needs=needs_of(settings),
        job_timeout_s=comfyui.job_timeout_seconds,
        process=process,
    )
    return engine, choice.note


def _process(
    settings: Settings, choice: EngineChoice, stack: ExitStack
) -> tuple[OwnProcess | None, Path | None]:
    """The engine's process, and its output folder, as far as they are ours."""
    comfyui = settings.comfyui
    folder = settings.storage.output / ".engine"
    if choice.kind is EngineKind.EMBEDDED:
        shutil.rmtree(folder, ignore_errors=True)
        embedded = EngineProcess(folder)
        stack.callback(embedded.stop)
        return _Ours(embedded, _EMBEDDED_START_S), folder / "output"
    if not comfyui.launch or choice.url is None:
        return None, None
    from backend.core.owned_comfyui import OwnedComfyUI

    owned = OwnedComfyUI(
        comfyui.launch,
        choice.url,
        settings.storage.status,
        cpu=comfyui.device == "cpu",
        token=_instance(settings.storage.output),
    )
    stack.callback(owned.stop)
    return _Ours(owned, _COMFYUI_START_S), None


def planner_for(settings: Settings, kind: EngineKind) -> Planner:
    """Who plans what an engine of this kind is asked.

    Raises:
        ConfigError: What check_dream() finds.
    """
    planner = check_dream(settings)
    if kind is EngineKind.EMBEDDED and isinstance(planner, FamilyPlanner):
        return replace(planner, models=ModelWish())  # the wish was for a ComfyUI
    return planner


def check_dream(settings: Settings) -> Planner:
    """What is to dream, as far as it can be told without any server.

    Raises:
        ConfigError: A family or a workflow that there is not, a workflow that lacks what the mode needs,
            adapters with values that do not go together.
    """
    dream = settings.dream
    if dream.workflow is not None:
        problems = [*decoder_problems(settings.interpolation)]
        if problems:
            raise ConfigError(problems)
        return _workflow_planner(settings, dream.workflow)
    problems = [
        *_family_problems(settings.comfyui.family),
        *_adapter_problems(dream.adapters),
        *decoder_problems(settings.interpolation),
    ]
    if problems:
        raise ConfigError(problems)
    return FamilyPlanner(
        _wish(settings.comfyui),
        SamplingChoice(dream.steps, dream.cfg, dream.sampler, dream.scheduler),
        dream.adapters,
        frames=_frames(settings),
        streams=needs_of(settings).walks and _decodes_as_keyframes(settings.interpolation),
        tiny_vae=settings.interpolation.tiny_vae,
    )


def _decodes_as_keyframes(wishes: InterpolationSettings) -> bool:
    """Whether in-betweens are decoded by the engine, with the keyframes' VAE and in their size."""
    return wishes.decoder != "local" and wishes.tiny_vae is None and wishes.scale == 1.0


def _frames(settings: Settings) -> FrameFormat | None:
    """How our own nodes are to encode frames: as the display wants them, so that they stay as they came."""
    if settings.comfyui.node_pack == "never":
        return None
    display = settings.display
    return FrameFormat(display.format, display.quality) if display.format in STREAMED else AS_JPEG


def _workflow_planner(settings: Settings, name: str) -> WorkflowPlanner:
    needs = needs_of(settings)
    workflow = load_workflow(settings.prompts.folder / "workflows", name)
    planner = WorkflowPlanner(workflow, needs.size, settings.comfyui.node_pack != "never")
    try:
        planner.check(walks=needs.walks, continues=needs.continues)
    except GraphUnfit as unfit:
        wish = f"{'; '.join(unfit.details)}, or choose another dream.mode than {settings.dream.mode}"
        raise ConfigError([Problem("config", None, "dream.workflow", name, wish)]) from None
    return planner


def _family_problems(family: str | None) -> Iterator[Problem]:
    try:
        if family is not None:
            family_named(family)
    except ValueError as error:
        yield Problem("config", None, "comfyui.family", family or "", str(error))


def _adapter_problems(adapters: Sequence[AdapterWish]) -> Iterator[Problem]:
    for number, wish in enumerate(adapters, 1):
        try:
            adapters_of([wish], lambda _, number: FileRef(f"{number}.png"))
        except (ValueError, StorageError) as error:
            yield Problem("config", None, f"dream.adapters, item {number}", wish.kind, str(error))


def _wish(comfyui: ComfyUISettings) -> ModelWish:
    return ModelWish(
        comfyui.family, comfyui.checkpoint, comfyui.diffusion_model, comfyui.text_encoders, comfyui.vae
    )


def needs_of(settings: Settings) -> DreamNeeds:
    """What the dream will ask of an engine."""
    mode, size = MODES[settings.dream.mode], settings.dream.size
    pixels = None if size is None else (size.width, size.height)
    return DreamNeeds(pixels, walks=mode.walks, continues=mode.continues)


def _limits(comfyui: ComfyUISettings, transfer_s: float) -> HttpLimits:
    return HttpLimits(
        connect_s=comfyui.connect_timeout_seconds,
        transfer_s=transfer_s,
        max_json_bytes=comfyui.max_json,
        max_file_bytes=comfyui.max_file,
    )


def _models_at(settings: Settings, url: str) -> tuple[str, ...]:
    """What the ComfyUI at an address would dream with; nothing where there is no such server.

    Whoever names a workflow or a model wants that server's pictures, or its complaint, and no other engine's.
    """
    comfyui = settings.comfyui
    named = settings.dream.workflow or comfyui.checkpoint or comfyui.diffusion_model
    limits = HttpLimits(connect_s=_PROBE_S, answer_s=_PROBE_S)
    client = ComfyUIClient(url, limits, headers=comfyui.headers.as_dict())
    try:
        client.system_stats()
        return (named or choose_models(_wish(comfyui), client).label,)
    except EngineError:
        return ()


def _instance(output: Path) -> str:
    """Tells this Dreamloop's files on a shared server from another's; the same at each start."""
    return hashlib.sha256(f"{os.uname().nodename}:{output.resolve()}".encode()).hexdigest()[:8]
