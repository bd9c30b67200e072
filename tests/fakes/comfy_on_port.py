"""A ComfyUI to be launched; it paints quickly: ``python -m tests.fakes.comfy_on_port FOLDER --port N``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from backend.engine.serving import serve
from tests.fakes.painters import NumpyPainter

_LEAK_BYTES = 300_000_000

if __name__ == "__main__":
    leaked: list[bytes] = []  # told so by SIGUSR1, as a node of somebody's does over weeks
    signal.signal(signal.SIGUSR1, lambda *_: leaked.append(b"leak" * (_LEAK_BYTES // 4)))
    port = int(sys.argv[sys.argv.index("--port") + 1])
    serve(port, Path(sys.argv[1]), NumpyPainter(), parent_watch=False, announce=lambda _: None)
