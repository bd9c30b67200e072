"""Every key that is marked as live changes what the running parts do; every other one waits for a restart."""

from __future__ import annotations

import contextlib
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from backend.config import is_live, keys, load_settings, settings_from
from backend.config_values import schema_of
from backend.core.config_watch import LOOK_S, ConfigSource, ConfigWatch
from backend.core.engine import DreamNeeds, EngineKind
from backend.core.engine_plan import FamilyPlanner, Planner
from backend.core.frame_buffer import Frame, FrameKind
from backend.core.live_settings import LiveSettings, differing
from backend.core.memory_report import MemoryReport
from backend.core.remembering import MemoryAlbum, Remembering
from backend.core.report import Report
from backend.core.workflow_builder import TextToImage
from backend.errors import ConfigError, GraphUnfit
from backend.film.recorder import Recorder
from backend.live_assembly import LiveParts, register_parts
from backend.machine_assembly import open_monitor
from backend.memory_assembly import DreamMemory, injection_of
from backend.utils.disk_room import DiskRoom
from backend.utils.machine import GpuReading, Reading
from backend.utils.picture_check import inspect_picture
from backend.utils.system_monitor import SystemMonitor
from tests.cache.memories import new, open_memory
from tests.core.test_controller import Dream, dream
from tests.core.test_scorer import Desk
from tests.fakes.memory_engine import MemoryEngine, is_walk, picture

START: Mapping[str, Mapping[str, Any]] = {
    "dream": {"seconds_per_keyframe": 1, "size": "128x64"},
    "display": {"buffer_seconds": 3},
    "comfyui": {"url": "http://127.0.0.1:9"},
    "prompts": {"order": "sequential"},
}
OTHER_THEMES = "name: fire\npositive:\n  - a quiet fire\n"


@dataclass
class PlannedEngine(MemoryEngine):
    """Remembers what it was to go by; may refuse."""

    kind: EngineKind = EngineKind.COMFYUI
    job_timeout_s: float = 300.0
    adopted: list[tuple[Planner, DreamNeeds]] = field(default_factory=list)
    cannot: GraphUnfit | None = None

    def adopt(self, planner: Planner, needs: DreamNeeds) -> None:
        if self.cannot is not None:
            raise self.cannot
        self.adopted.append((planner, needs))


@dataclass
class Scene:
    """The parts of a dream with an engine in memory, a settings file, and who watches it."""

    folder: Path
    dream: Dream
    report: Report
    memory: DreamMemory
    remembering: Remembering
    desk: Desk
    recorder: Recorder
    watch: ConfigWatch
    live: LiveSettings
    monitor: SystemMonitor

    @property
    def engine(self) -> PlannedEngine:
        return cast("PlannedEngine", self.dream.engine)

    def edit(self, key: str, value: object) -> None:
        """Writes the file and lets the watch look; the loop takes a turn."""
        section, name = key.split(".")
        tree = {**START, section: {**START.get(section, {}), name: value}}
        (self.folder / "config.yaml").write_text(json.dumps(tree))
        for _ in range(6):
            self.dream.clock.now += LOOK_S
            self.watch.turn()
        self.dream.settle()

    def shelve(self, count: int) -> int:
        """Shows so many frames, a second apart; gives how many of them are kept."""
        shelf = self.report.shelf
        for number in range(count):
            data = picture(number)
            shelf.show(Frame(data, inspect_picture(data, max_pixels=9999), FrameKind.IN_BETWEEN, "", 0.1))
            self.dream.clock.now += 1.0
        return shelf.frames


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Callable[[], Scene]]:
    made: list[Scene] = []

    def make() -> Scene:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(scene(folder))
        return made[-1]

    level = logging.getLogger().level
    yield make
    logging.getLogger().setLevel(level)
    for one in made:
        one.memory.cache.close()


def scene(folder: Path) -> Scene:
    (folder / "config.yaml").write_text(json.dumps(START))
    loaded = load_settings(folder / "config.yaml", {})
    (folder / "others").mkdir()
    (folder / "others" / "fire.yaml").write_text(OTHER_THEMES)
    made = dream(folder, engine=PlannedEngine(), size=(128, 64))
    settings = loaded.settings
    judge = SimpleNamespace(thresholds=SimpleNamespace(duplicate=0.95))
    memory = DreamMemory(
        folder, open_memory(folder / "memory"), cast("Any", SimpleNamespace(current=judge)), settings.memory
    )
    remembering = Remembering(
        MemoryAlbum(memory.cache), frame_s=0.1, fade_s=1.0, max_pixels=9999, rng=random.Random(1)
    )
    desk = Desk(policy=cast("Any", injection_of(settings)))
    report = Report(
        cast("Any", made.engine),
        made.controller._generator,
        made.controller,
        made.gaps,
        made.controller._prompts,
        made.buffer,
        made.playback._shelf,
        made.playback,
        fps=10.0,
        note="",
        memory=MemoryReport(scorer=desk.scorer),
    )
    live = LiveSettings()
    watch = ConfigWatch(
        ConfigSource(folder / "config.yaml", loaded, {}),
        live,
        check=lambda _: None,
        clock=made.clock,
        wall=lambda: datetime.now(UTC),
    )
    recorder = Recorder(
        folder / "keyframes",
        keep_s=86400.0,
        budget_bytes=500_000_000,
        walks=lambda: True,
        gap_s=lambda: 1.0,
        facts=lambda: None,
    )
    room = DiskRoom(folder, settings.storage.min_free, lambda _: 10**9)
    monitor = open_monitor(settings.machine, made.controller, cast("Any", made.engine), report, room, None)
    monitor._machine = SimpleNamespace(read=lambda: BUSY)
    monitor._uses_gpu = lambda: True
    monitor._wall = lambda: datetime(2026, 11, 30, 12)
    register_parts(live, settings, LiveParts(report, recorder, remembering, memory, monitor), watch.refuse)
    return Scene(folder, made, report, memory, remembering, desk, recorder, watch, live, monitor)


# What a part does, as seen from outside


def next_request(scene: Scene) -> Any:
    """The keyframe that is asked for after the next one has come."""
    scene.dream.settle()
    scene.dream.finish_next()
    return [sent for sent in scene.engine.sent if not is_walk(sent)][-1].request


def denoise(scene: Scene) -> float:
    return float(next_request(scene).denoise)


def fresh(scene: Scene) -> bool:
    return isinstance(next_request(scene), TextToImage)


def first_size(scene: Scene) -> tuple[int, int]:
    scene.dream.settle()
    request = scene.engine.sent[0].request
    assert isinstance(request, TextToImage)
    return request.width, request.height


def walk(scene: Scene) -> list[int]:
    """How the in-betweens of the first gap travel."""
    scene.engine.engine_s = 0.05
    scene.dream.settle()
    while not any(is_walk(sent) for sent in scene.engine.sent):
        scene.dream.finish_next()
    for _ in range(8):
        if scene.engine.open_jobs:
            scene.dream.finish_next()
    walks = [sent for sent in scene.engine.sent if is_walk(sent)]
    total, counts = 0, list[int]()
    for sent in walks:
        counts.append(sent.count)
        total += sent.count
        if total >= round(scene.report.gaps.gap_s * scene.report.fps) - 1:
            break
    return counts


def buffered(scene: Scene) -> float:
    scene.dream.settle()
    while scene.engine.open_jobs:
        scene.dream.finish_next()
    return int(scene.dream.buffer.ready_s)


BUSY = Reading(frozenset({"steam"}), 0.5, 0.3, True, GpuReading("a card", 1000, 500, 0.5, 300, 0.3))


def rests(scene: Scene) -> bool:
    for _ in range(4):
        scene.monitor.turn()
    return scene.monitor.yields is not None


def goes_on_at_once(scene: Scene) -> bool:
    scene.monitor.wishes = scene.monitor.wishes.model_copy(update={"yield_to": ("steam",)})
    scene.monitor.turn()
    scene.monitor.wishes = scene.monitor.wishes.model_copy(update={"yield_to": ()})
    scene.monitor.turn()
    return scene.monitor.yields is None


def goes_dark(scene: Scene) -> bool:
    scene.monitor.wishes = scene.monitor.wishes.model_copy(update={"yield_to": ("steam",)})
    scene.monitor.turn()
    return scene.dream.playback.dark


def is_scarce(scene: Scene) -> bool:
    room = scene.report.room
    assert room is not None
    room.look()
    return room.scarce


def path(scene: Scene) -> str:
    return scene.dream.gaps.layout.path


def pacing(scene: Scene) -> str:
    return scene.dream.gaps.layout.pacing


def planned(scene: Scene) -> Any:
    planner = scene.engine.adopted[-1][0] if scene.engine.adopted else None
    assert planner is None or isinstance(planner, FamilyPlanner)
    if planner is None:
        return None
    sampling = planner.sampling
    adapters = [f"{one.kind} {one.value}" for one in planner.adapters]
    return next(
        one
        for one in (
            sampling.steps,
            sampling.cfg,
            sampling.sampler,
            sampling.scheduler,
            *adapters,
        )
        if one is not None
    )


def without_pack(scene: Scene) -> bool:
    planners = [planner for planner, _ in scene.engine.adopted]
    return bool(planners) and cast("FamilyPlanner", planners[-1]).frames is None


def remembered(scene: Scene) -> int:
    """How many of fourteen pictures stay, once the memory has come to rest."""
    for number, vector in enumerate(np.random.default_rng(1).normal(size=(14, 8)).astype(np.float32)):
        scene.memory.cache.add(new(number, vector / np.linalg.norm(vector), score=0.3 + 0.05 * number))
    return scene.memory.cache.size


def lets_in(scene: Scene) -> bool:
    return type(scene.memory.cache.add(new(1, score=0.2))).__name__ == "Added"


def limit_bytes(scene: Scene) -> int:
    return scene.memory.cache._keeper.room.limits.max_bytes


def policy(scene: Scene) -> Any:
    return scene.desk.scorer._policy


def theme_after(scene: Scene, seconds: float) -> bool:
    """Whether another theme has come after so long."""
    prompts, now = scene.report.prompts, scene.dream.clock.now
    before = prompts.current(now, datetime(2026, 1, 1, 12)).theme
    return prompts.current(now + seconds, datetime(2026, 1, 1, 12)).theme != before


def prompt_turns(scene: Scene) -> float:
    return scene.report.prompts._seconds_per_prompt


def timeout(scene: Scene) -> tuple[float, float]:
    return scene.engine.job_timeout_s, scene.report.gaps.job_timeout_s


PROBES: Mapping[str, tuple[object, Callable[[Scene], Any], Any, Any]] = {
    "comfyui.node_pack": ("never", without_pack, False, True),
    "comfyui.job_timeout_seconds": (60, timeout, (300.0, 300.0), (60.0, 60.0)),
    "dream.mode": ("txt2img", fresh, False, True),
    "dream.adapters": ([{"clip_skip": 2}], planned, None, "clip_skip 2"),
    "dream.size": ("256x128", first_size, (128, 64), (256, 128)),
    "dream.denoise": (0.3, denoise, 0.45, 0.3),
    "dream.seconds_per_keyframe": (2, walk, [9], [19]),
    "dream.steps": (7, planned, None, 7),
    "dream.cfg": (3, planned, None, 3.0),
    "dream.sampler": ("euler", planned, None, "euler"),
    "dream.scheduler": ("karras", planned, None, "karras"),
    "interpolation.path": ("slerp", path, "smooth", "slerp"),
    "interpolation.pacing": ("eased", pacing, "perceptual", "eased"),
    "interpolation.frames_per_job": (5, walk, [9], [5, 4]),
    "memory.max_entries": (10, remembered, 14, 10),
    "memory.max_size": ("10 MB", limit_bytes, 10**9, 10**7),
    "memory.min_score": (0.5, lets_in, True, False),
    "memory.injection": ("never", lambda scene: policy(scene) is None, False, True),
    "memory.cooldown_seconds": (7, lambda scene: policy(scene)._settings.cooldown_s, 40.0, 7.0),
    "prompts.folder": ("others", lambda scene: scene.report.prompts.themes, ("sea", "sky"), ("fire",)),
    "prompts.order": ("shuffled", lambda scene: scene.report.prompts._shuffled, False, True),
    "prompts.seconds_per_theme": (5, lambda scene: theme_after(scene, 6.0), False, True),
    "prompts.seconds_per_prompt": (5, prompt_turns, 60.0, 5.0),
    "display.fps": (20, walk, [9], [19]),
    "display.buffer_seconds": (6, buffered, 3, 6),
    "display.keep_seconds": (5, lambda scene: scene.shelve(20), 20, 6),
    "storage.budget": ("11 MB", lambda scene: scene.report.shelf.budget_bytes, 10_000_000, 11_000_000),
    "storage.keyframe_hours": (1, lambda scene: scene.recorder._keep_s, 86400.0, 3600.0),
    "storage.keyframe_budget": ("10 MB", lambda scene: scene.recorder._budget_bytes, 5 * 10**8, 10**7),
    "machine.hours": ("[01:00-01:01]", rests, False, True),
    "machine.yield_to": ("[steam]", rests, False, True),
    "machine.gpu_memory": (0.1, rests, False, True),
    "machine.gpu_load": (0.1, rests, False, True),
    "machine.on_battery": ("rest", rests, False, True),
    "machine.memory_free": (0.4, rests, False, True),
    "machine.back_after_seconds": (0, goes_on_at_once, False, True),
    "machine.display": ("dark", goes_dark, False, True),
    "storage.min_free": ("2 GB", is_scarce, False, True),
    "machine.own_memory": ("2 GB", lambda scene: scene.monitor.wishes.own_memory, 6 * 10**9, 2 * 10**9),
    "machine.engine_memory": (
        "2 GB",
        lambda scene: scene.monitor.wishes.engine_memory,
        32 * 10**9,
        2 * 10**9,
    ),
    "log.level": ("debug", lambda _: logging.getLogger().level, logging.WARNING, logging.DEBUG),
}


def test_there_is_a_probe_for_every_live_key_and_a_part_that_takes_it(scenes: Callable[[], Scene]) -> None:
    marked = {key for key, field in keys().items() if is_live(field)}
    assert set(PROBES) == marked
    assert scenes().live.keys == marked


@pytest.mark.parametrize("key", list(PROBES))
def test_a_live_key_changes_what_the_running_parts_do(scenes: Callable[[], Scene], key: str) -> None:
    value, probe, before, after = PROBES[key]
    assert before != after
    plain = scenes()
    plain.edit("dream.seed", 5)  # an edit that takes as long and changes nothing
    assert probe(plain) == before
    edited = scenes()
    edited.edit(key, value)
    assert edited.watch.state.problems == ()
    assert edited.watch.state.needs_restart == ()
    assert probe(edited) == after


CANDIDATES = (
    "another",
    "http://127.0.0.1:7",
    "mqtt://127.0.0.1:7",
    "perceptual",
    "2 GB",
    7,
    1,
    "cpu",
    {"X-Other": "another"},
)


def another_value(key: str, folder: Path) -> object:
    """A value that the key may have, and has not by default."""
    (folder / "something").write_text("")
    schema = schema_of(keys()[key])
    schema = schema.get("anyOf", [schema])[-1]
    section, name = key.split(".")
    tried = [
        *schema.get("enum", ()),
        True,
        False,
        schema.get("minimum"),
        str(folder / "something"),
        *CANDIDATES,
    ]
    for value in tried:
        text = json.dumps({section: {name: value}})
        with contextlib.suppress(ConfigError):
            settings = settings_from(text.encode(), folder / "config.yaml", {}).settings
            plain = settings_from(b"", folder / "config.yaml", {}).settings
            if key in differing(plain, settings):
                return value
    raise AssertionError(f"no value was found for {key}: add one to CANDIDATES")


def test_every_other_key_is_named_as_waiting_for_a_restart_and_holds_its_value(
    scenes: Callable[[], Scene],
) -> None:
    scene = scenes()
    for key, described in keys().items():
        if is_live(described):
            continue
        before = scene.watch.settings
        scene.edit(key, another_value(key, scene.folder))
        assert scene.watch.state.problems == ()
        assert [one.key for one in scene.watch.state.needs_restart] == [key]
        assert scene.watch.settings == before


def test_an_engine_that_cannot_is_left_as_it_was_and_so_are_all_the_others(
    scenes: Callable[[], Scene],
) -> None:
    scene = scenes()
    scene.engine.cannot = GraphUnfit(("no sampler 'eulr'; it has euler",))
    section = {"sampler": "eulr", "mode": "txt2img", "denoise": 0.3}
    tree = {**START, "dream": {**START["dream"], **section}}
    (scene.folder / "config.yaml").write_text(json.dumps(tree))
    for _ in range(6):
        scene.dream.clock.now += LOOK_S
        scene.watch.turn()
    scene.dream.settle()
    assert [problem.key for problem in scene.watch.state.problems] == ["dream.sampler"]
    assert "it has euler" in scene.watch.state.problems[0].wish
    assert scene.watch.settings.dream.mode == "hybrid"
    assert scene.report.generator.mode_name == "hybrid"
    assert denoise(scene) == 0.45


def test_a_folder_without_themes_is_refused_and_the_dream_goes_on_with_what_it_has(
    scenes: Callable[[], Scene],
) -> None:
    scene = scenes()
    scene.edit("prompts.folder", "nowhere")
    (problem,) = scene.watch.state.problems
    assert (problem.key, problem.value) == ("prompts.folder", "nowhere")
    assert "one YAML file a theme" in problem.wish
    assert scene.report.prompts.themes == ("sea", "sky")
    (scene.folder / "nowhere").mkdir()
    (scene.folder / "nowhere" / "fire.yaml").write_text(OTHER_THEMES)
    for _ in range(20):
        scene.dream.clock.now += LOOK_S
        scene.watch.turn()
    assert scene.watch.state.problems == ()
    assert scene.report.prompts.themes == ("fire",)


def test_an_edit_does_not_hold_up_what_is_buffered(scenes: Callable[[], Scene]) -> None:
    scene = scenes()
    buffered(scene)
    ready = scene.dream.buffer.ready_s
    scene.edit("display.fps", 25)
    scene.edit("dream.seconds_per_keyframe", 2)
    assert scene.dream.buffer.ready_s == ready
    scene.dream.show(ready - 0.5)
    assert not scene.dream.playback.is_late
    assert scene.dream.buffer.skipped == 0
