"""What a real ComfyUI does for a frame besides decoding it: with stock nodes, and with our own.

Time is taken by the server's clock, from the start of the execution to its success, less the decoding. The
stock nodes leave their pictures to the event loop, which encodes them afterwards: the time from one picture
to the next is added for each. What Python's garbage collector holds up at the end of a job counts for nobody.
"""

from __future__ import annotations

import io
import json
import statistics
import struct
import time
import uuid
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np
import requests
import torch
import websocket
from PIL import Image

from backend.core.comfyui_api import ComfyUIClient
from backend.core.comfyui_messages import FEATURE_FLAGS
from backend.core.family_detection import family_of
from backend.core.jobs import FileRef
from backend.core.latent_nodes import FrameFormat, WalkFrames
from backend.core.model_choice import Models
from backend.core.node_catalog import NodeCatalog
from backend.core.node_pack import find_pack
from backend.core.workflow_builder import DecodeLatents, Workflow, WorkflowBuilder
from backend.interpolation.latent_encoder import write_latents
from backend.interpolation.walk import Knot, Walk, Waypoint
from backend.interpolation.walk_course import course_of

Row = tuple[str, str, str]

SIZES_PX = (512, 1024)
_GUARD_S = 1800.0
_WISHED = 1 / 3
_WISHED_RATE = 1.3

url: str | None = None
"""The server, set by the command line."""

size_px = SIZES_PX[0]
"""Width and height of the frames, set by the command line."""


@dataclass
class Told:
    """What one job let hear of itself.

    Attributes:
        started_s: When it was heard that the server began, on this machine's clock, like what follows.
        executing: When each node began; None stands for the end.
        arrived_s: When each frame came.
        server_s: Seconds from the start of the execution to its success, by the server's clock.
        output: What its nodes told at their end.
    """

    started_s: float = 0.0
    executing: list[tuple[str | None, float]] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)
    frames: dict[int, bytes] = field(default_factory=dict)
    wire_bytes: int = 0
    server_s: float = 0.0
    output: dict[str, Any] = field(default_factory=dict)

    @property
    def frame_s(self) -> float:
        """From one frame to the next."""
        return statistics.median(later - one for one, later in pairwise(self.arrived_s))

    def seconds_of(self, node_id: str) -> float:
        """How long a node ran: until the next one began."""
        times = [when for _, when in self.executing]
        at = [node for node, _ in self.executing].index(node_id)
        return times[at + 1] - times[at]


@dataclass(frozen=True)
class Cost:
    """For one frame, as medians over the rounds.

    Attributes:
        outside_ms: Of the server, apart from the decoding.
        decode_ms: Of the decoding.
        wire_bytes: With all that stands around the picture.
        first_ms: From the start of the job to the first frame.
        encode_ms: Of threads beside the one that decodes; 0 where there are none.
        frames_per_s: From the start of the job to its last frame.
    """

    outside_ms: float
    decode_ms: float
    wire_bytes: float
    first_ms: float
    encode_ms: float = 0.0
    frames_per_s: float = 0.0


def rows(quick: bool) -> list[Row]:
    """The rows of the table; one that says why not, where no server is given."""
    if url is None:
        return [("node pack on a real ComfyUI", "-", "needs --comfyui-url URL")]
    studio = Studio(url, size_px)
    try:
        frames, rounds = (4, 1) if quick else (12, 5)
        costs, psnr = studio.compare(frames, rounds)
    finally:
        studio.close()
    return table(costs, psnr, frames, size_px)


def table(costs: dict[str, Cost], psnr: dict[str, float], frames: int, size_px: int) -> list[Row]:
    """The rows of what was measured.

    Args:
        costs: By name; ``stock`` is one of them.
        psnr: By name, of all others.
        frames: In a job.
        size_px: Width and height of them.
    """
    stock = costs["stock"]
    size = f"{size_px}x{size_px}"
    told: list[Row] = []
    for name, cost in costs.items():
        ratio = cost.outside_ms / stock.outside_ms
        beside = f"; beside it {cost.encode_ms:.1f}" if cost.encode_ms else ""
        told += [
            (f"{size}, {name}: server ms a frame outside the decode", f"{cost.outside_ms:.1f}{beside}", ""),
            ("    in the decode, ms a frame", f"{cost.decode_ms:.0f}", ""),
            ("    bytes a frame on the wire", f"{cost.wire_bytes:,.0f}", ""),
            (f"    ms to the first of {frames} frames", f"{cost.first_ms:.0f}", ""),
            ("    frames a second", f"{cost.frames_per_s:.2f}", ""),
        ]
        if name != "stock":
            judged, large = name == "our nodes, jpeg", size_px >= SIZES_PX[1]
            wished = f"at most {_WISHED:.2f}" if judged else ""
            rate = f"at least {_WISHED_RATE} on a GPU" if judged and large else ""
            told += [
                (f"    outside the decode, {name} : stock", f"{ratio:.3f}", wished),
                (
                    f"    frames a second, {name} : stock",
                    f"{cost.frames_per_s / stock.frames_per_s:.2f}",
                    rate,
                ),
                ("    PSNR to the stock frames, dB", f"{psnr[name]:.1f}", ""),
            ]
    return told


class Studio:
    """A walk of smooth latents on one server, decoded in several ways."""

    def __init__(self, address: str, size_px: int) -> None:
        self._url = address.rstrip("/")
        self._client = ComfyUIClient(self._url)
        pack = find_pack(NodeCatalog.parse(self._client.object_info()), wanted=True)
        if not pack.used:
            raise SystemExit(f"{self._url}: {pack.sentence}")
        checkpoint = self._client.models("checkpoints")[0]
        family = family_of(checkpoint)
        self._models = Models(family, checkpoint=checkpoint)
        self._sampling = family.sampling()
        cells = size_px // family.cell_px
        self._points = [Waypoint(_smooth(seed, family.latent_channels, cells)) for seed in (1, 2)]
        self._specks = [Waypoint(point.latent[..., :8, :8]) for point in self._points]

    def close(self) -> None:
        self._client.close()

    def compare(self, frames: int, rounds: int) -> tuple[dict[str, Cost], dict[str, float]]:
        """Costs by name, and how near the frames of our nodes are to the stock ones in dB."""
        for workflow, nonce in self._works(self._specks, 1).values():
            self._run(_renewed(workflow, nonce, 0))  # loads the model, and whatever else is loaded but once
        works = self._works(self._points, frames)
        told: dict[str, list[Told]] = {name: [] for name in works}
        for turn in range(rounds):
            for name, (workflow, nonce) in works.items():
                told[name].append(self._run(_renewed(workflow, nonce, turn)))
        costs = {name: _cost(all_of, works[name][0], frames) for name, all_of in told.items()}
        newest = {name: all_of[-1].frames for name, all_of in told.items()}
        psnr = {name: _psnr(newest["stock"], newest[name]) for name in works if name != "stock"}
        return costs, psnr

    def _works(self, points: list[Waypoint], frames: int) -> dict[str, tuple[Workflow, str]]:
        """The graphs by name, and of each the node that would be cached if it were not made to run anew."""
        walk = Walk("smooth", Knot(points[0]), Knot(points[1]), 4.0)
        t = torch.arange(1, frames + 1) / (frames + 1)
        formats = ("jpeg", "webp", "png")
        ours = {f"our nodes, {one}": self._ours(walk, t, FrameFormat(one)) for one in formats}
        return {"stock": self._stock(walk, t), **ours}

    def _stock(self, walk: Walk, t: torch.Tensor) -> tuple[Workflow, str]:
        file = self._client.upload(write_latents(walk.latents(t)), "dreamloop_bench_batch.latent")
        builder = WorkflowBuilder(self._models, self._sampling, str)
        return builder.build(DecodeLatents(file, "a lake", "")), "VAEDecode"

    def _ours(self, walk: Walk, t: torch.Tensor, frames: FrameFormat) -> tuple[Workflow, str]:
        course = course_of(walk)
        files: list[FileRef] = [
            self._client.upload(write_latents(point.latent), f"dreamloop_bench_{number}.latent")
            for number, point in enumerate(course.points)
        ]
        builder = WorkflowBuilder(self._models, self._sampling, str, stream=frames)
        request = WalkFrames(tuple(files), course.text, tuple(t.tolist()), "a lake", "")
        return builder.build(request), ""

    def _run(self, workflow: Workflow) -> Told:
        with Ears(self._url) as ears:
            return ears.run(workflow.graph)


class Ears:
    """One socket, whose messages are noted with the time at which they came."""

    def __init__(self, address: str) -> None:
        self._url, self._client_id = address, str(uuid.uuid4())
        self._socket = websocket.create_connection(
            f"ws{address.removeprefix('http')}/ws?clientId={self._client_id}",
            timeout=_GUARD_S,
            suppress_origin=True,
        )
        self._socket.send(FEATURE_FLAGS)

    def __enter__(self) -> Ears:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def run(self, graph: Any) -> Told:
        prompt_id = str(uuid.uuid4())
        body = {"prompt": graph, "client_id": self._client_id, "prompt_id": prompt_id}
        answer = requests.post(f"{self._url}/prompt", json=body, timeout=60)
        if answer.status_code != 200:
            raise SystemExit(answer.text)
        told = Told()
        while not told.executing or told.executing[-1][0] is not None:
            message = self._socket.recv()
            now = time.perf_counter()
            if isinstance(message, bytes):
                _take_frame(told, message, now)
            else:
                _take_text(told, json.loads(message), now)
        return told


def _take_text(told: Told, message: dict[str, Any], now: float) -> None:
    data = message["data"]
    match message["type"]:
        case "execution_start":
            told.started_s = now
            told.server_s = -data["timestamp"] / 1000.0
        case "execution_success":
            told.server_s += data["timestamp"] / 1000.0
        case "executing":
            told.executing.append((data["node"], now))
        case "executed":
            told.output.update(data["output"] or {})
        case "execution_error":
            raise SystemExit(data["exception_message"])


def _take_frame(told: Told, message: bytes, now: float) -> None:
    (length,) = struct.unpack_from(">I", message, 4)
    place = json.loads(message[8 : 8 + length]).get("frame", len(told.frames))
    told.arrived_s.append(now)
    told.wire_bytes += len(message)
    told.frames[place] = message[8 + length :]


def _renewed(workflow: Workflow, costly: str, turn: int) -> Workflow:
    """The same work with nothing cached: a decode of stock nodes runs anew under other tiles of no effect."""
    if not costly:
        return workflow
    graph = {key: {**node, "inputs": dict(node["inputs"])} for key, node in workflow.graph.items()}
    for node in graph.values():
        if node["class_type"] == costly:
            node["inputs"]["turn"] = turn  # an input that it does not know is part of its cache key, no more
    return Workflow(graph, workflow.picture_node, workflow.latent_node)


def _cost(all_of: list[Told], workflow: Workflow, frames: int) -> Cost:
    def middle(values: list[float]) -> float:
        return 1000.0 * statistics.median(values) / frames

    decoders = [key for key, node in workflow.graph.items() if node["class_type"] == "VAEDecode"]
    decode = [
        one.seconds_of(decoders[0]) if decoders else one.output["dreamloop"][0]["decode_s"] for one in all_of
    ]
    afterwards = [one.frame_s * frames if decoders else 0.0 for one in all_of]
    outside = [
        one.server_s - decode_s + later_s
        for one, decode_s, later_s in zip(all_of, decode, afterwards, strict=True)
    ]
    encode = [0.0 if decoders else one.output["dreamloop"][0]["encode_s"] for one in all_of]
    first = statistics.median(one.arrived_s[0] - one.started_s for one in all_of)
    size = statistics.median(one.wire_bytes for one in all_of) / frames
    rate = statistics.median(frames / (one.arrived_s[-1] - one.started_s) for one in all_of)
    return Cost(middle(outside), middle(decode), size, 1000.0 * first, middle(encode), rate)


def _psnr(one: dict[int, bytes], other: dict[int, bytes]) -> float:
    """Of the frame that differs most, in dB; infinite where none differs."""
    errors = [float(np.mean((_pixels(one[place]) - _pixels(other[place])) ** 2)) for place in sorted(one)]
    worst = max(errors)
    return float("inf") if worst == 0.0 else 10.0 * float(np.log10(255.0**2 / worst))


def _pixels(data: bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)


def _smooth(seed: int, channels: int, cells: int) -> torch.Tensor:
    """A latent with forms as large as those of pictures: coarse noise, and a little of fine."""
    drawn = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, 8, 8, generator=drawn)
    fine = torch.randn(1, channels, cells, cells, generator=drawn)
    large = torch.nn.functional.interpolate(coarse, size=(cells, cells), mode="bicubic")
    return large + 0.15 * fine
