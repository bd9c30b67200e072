"""The embedded engine with the quick painter: ``python -m tests.fakes.engine_program FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from backend.engine.serving import serve
from tests.fakes.painters import NumpyPainter

if __name__ == "__main__":
    serve(
        0,
        Path(sys.argv[1]),
        NumpyPainter(),
        parent_watch=True,
        announce=lambda facts: print(json.dumps(facts), flush=True),  # noqa: T201 - how it announces itself
    )
