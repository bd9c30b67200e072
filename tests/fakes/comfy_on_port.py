"""A ComfyUI to be launched; it paints quickly: ``python -m tests.fakes.comfy_on_port FOLDER --port N``."""

from __future__ import annotations

import sys
from pathlib import Path

from backend.engine.serving import serve
from tests.fakes.painters import NumpyPainter

if __name__ == "__main__":
    port = int(sys.argv[sys.argv.index("--port") + 1])
    serve(port, Path(sys.argv[1]), NumpyPainter(), parent_watch=False, announce=lambda _: None)
