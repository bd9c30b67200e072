"""FakeComfy: the embedded engine's own server in a thread, quick, recording, and scriptable in its faults.

::

    with FakeComfy(tmp_path) as fake:
        fake.fault("POST", "/prompt", close="after", times=1)     # accepted, but the answer is lost
        ...
        assert len(fake.posted("/prompt")) == 1
"""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from backend.engine.dialect import Dialect
from backend.engine.painting import Painter
from backend.engine.server import LOOPBACK, EngineServer
from backend.engine.stock_nodes import stock_nodes
from backend.engine.worker import Busyness
from tests.fakes.faulty import FaultyHub, FaultyPainter, Socket
from tests.fakes.faulty_http import FaultyHttp, HttpFault, Request
from tests.fakes.pack_nodes import FakePack
from tests.fakes.painters import NumpyPainter

T = TypeVar("T")

_GUARD_S = 20.0


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class FakeComfy:
    """A ComfyUI to be tormented.

    Args:
        folder: Root of its input, output and temp folders.
        dialect: A or B.
        painter: What paints; tiny real pictures by default.
        checkpoints: What it has; the embedded engine's own by default.
        up: Whether it listens from the start; else ``restart()`` lets it, on the port that ``url`` names.
        pack: Whether it has our own nodes.

    Attributes:
        painter: The painter inside its wrapper: ``step_s``, ``errors``, ``always``, ``spoil``, ``hold()``.
        pack: Our own nodes, whether it has them or not.
        port: Stays the same over restarts.
        foreign_ids: The prompts of ``foreign_job``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dialect: Dialect | str = Dialect.A,
        painter: Painter | None = None,
        checkpoints: list[str] | None = None,
        up: bool = True,
        pack: bool = False,
    ) -> None:
        self.dialect = Dialect[dialect] if isinstance(dialect, str) else dialect
        self.painter = FaultyPainter(painter or NumpyPainter())
        self.port = free_port()
        self._folder = folder
        self._checkpoints = checkpoints
        self.foreign_ids: set[str] = set()
        self._missing: set[str] = set()
        self._up = up
        self.pack = FakePack()
        self._has_pack = pack
        self._http = FaultyHttp()
        self._hub = FaultyHub()
        self._server: EngineServer | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-comfy", daemon=True)

    def __enter__(self) -> FakeComfy:
        self._thread.start()
        if self._up:
            self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._run(self._cancel_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GUARD_S)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def server(self) -> EngineServer:
        assert self._server is not None, "FakeComfy is down"
        return self._server

    def kill(self) -> None:
        """As SIGKILL: connections end at once, queue and history are gone; the port refuses."""
        server, self._server = self._server, None
        if server is not None:
            self.painter.release()
            self._loop.call_soon_threadsafe(self._http.let_go)
            self._run(server.stop())

    def restart(self) -> None:
        """Comes up on the same port, with the same files but for temp, and no memory of anything."""
        self.kill()
        self._run(self._start())

    async def _start(self) -> None:
        hub = self._hub
        server = EngineServer(
            self._folder,
            self.painter,
            dialect=self.dialect,
            version=self.dialect.value,
            hub=hub,
            middlewares=[self._http.middleware()],
        )
        if self._checkpoints is not None:
            server.core.workspace.models["checkpoints"] = self._checkpoints
        self.pack.latents.clear()
        if self._has_pack:
            server.core.nodes.update(self.pack.nodes(hub))
        for name in self._missing:
            server.core.nodes.pop(name, None)
        await server.start(self.port)
        self._server = server

    @staticmethod
    async def _cancel_the_rest() -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, coroutine: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
        assert asyncio.iscoroutine(coroutine)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_GUARD_S)

    # What was seen

    @property
    def requests(self) -> list[Request]:
        """All HTTP requests so far, over restarts."""
        return list(self._http.requests)

    def posted(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.method == "POST" and request.path == path]

    @property
    def sockets(self) -> list[Socket]:
        """All WebSocket connections so far, open and closed."""
        return list(self._hub.sockets)

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self._server is not None

    def executed(self) -> list[str]:
        """Ids of the prompts in the history, oldest first."""
        return list(self.server.core.queue.history())

    def busyness(self) -> Busyness:
        return self.server.core.worker.busyness()

    # What goes wrong

    def fault(self, method: str, path: str, **how: Any) -> HttpFault:
        """Disturbs requests, see HttpFault; ``path`` may have wildcards. Newer faults are asked last."""
        fault = HttpFault(method, path, **how)
        self._http.faults.append(fault)
        return fault

    def heal(self) -> None:
        """No more faults of any kind."""
        self._http.faults.clear()
        self.unmute()
        self._hub.drop = lambda _kind, _data: False
        self.painter.errors.clear()
        self.painter.always = None
        self.painter.spoil = None
        self.painter.release()

    def mute(self) -> None:
        """WebSockets stay open, but nothing is sent any more (F01)."""
        self._hub.muted = True

    def unmute(self) -> None:
        self._hub.muted = False

    def drop_end_messages(self) -> None:
        """``executing`` with node null never arrives (F04)."""
        self._hub.drop = lambda kind, data: kind == "executing" and data["node"] is None

    def drop_kinds(self, *kinds: str) -> None:
        """Text messages of these kinds, and pictures as "picture", never arrive."""
        self._hub.drop = lambda kind, _data: kind in kinds

    def drop_sockets(self) -> None:
        """Cuts all WebSockets; new ones may come at once."""
        self._loop.call_soon_threadsafe(lambda: [one.abort() for one in list(self._hub.open)])

    def lose_node(self, name: str) -> None:
        """The server does not have this node class (F15); jobs that it has accepted end with it."""
        self._missing.add(name)
        core = self.server.core
        core.nodes = {known: node for known, node in core.nodes.items() if known != name}

    def give_node(self, name: str) -> None:
        """It is there again, after ``lose_node``."""
        self._missing.discard(name)
        self.server.core.nodes[name] = stock_nodes(self.dialect)[name]

    def lose_pack(self) -> None:
        """The server does not have our own nodes any more, as after a restart without them."""
        self._has_pack = False
        core, ours = self.server.core, self.pack.nodes(self._hub)
        core.nodes = {name: node for name, node in core.nodes.items() if name not in ours}

    def give_pack(self) -> None:
        """It has them from now on, but for those that it was told to lose."""
        self._has_pack = True
        nodes = self.pack.nodes(self._hub)
        self.server.core.nodes.update({name: nodes[name] for name in nodes.keys() - self._missing})

    def set_checkpoints(self, names: list[str]) -> None:
        self._checkpoints = names
        self.server.core.workspace.models["checkpoints"] = names

    def lose_output_files(self) -> None:
        """Somebody deleted the output folder's files; cached results still name them (F07)."""
        for path in (self._folder / "output").rglob("*"):
            if path.is_file():
                path.unlink()

    def foreign_job(self, *, steps: int = 1, seed: int = 0, client_id: str | None = "somebody-else") -> str:
        """Somebody else's prompt, put straight into the queue (F13); its id."""
        core, prompt_id = self.server.core, str(uuid.uuid4())
        self.foreign_ids.add(prompt_id)
        graph = txt2img(core.workspace.models["checkpoints"][0], seed=seed, steps=steps)
        extra_data = {} if client_id is None else {"client_id": client_id}
        core.queue.put(core.next_number({}), prompt_id, graph, extra_data, ("7",))
        return prompt_id


def txt2img(
    checkpoint: str,
    *,
    text: str = "a cat",
    seed: int = 11,
    steps: int = 2,
    size_px: tuple[int, int] = (64, 64),
    saver: str = "SaveImage",
) -> dict[str, dict[str, Any]]:
    """The smallest graph that makes a picture."""
    graph: dict[str, dict[str, Any]] = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
        "4": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": size_px[0], "height": size_px[1], "batch_size": 1},
        },
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["3", 0],
                "latent_image": ["4", 0],
                "seed": seed,
                "steps": steps,
                "cfg": 5.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": saver, "inputs": {"images": ["6", 0]}},
    }
    if saver == "SaveImage":
        graph["7"]["inputs"]["filename_prefix"] = "t2i"
    return graph
