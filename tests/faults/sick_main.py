"""main.py of a daemon that falls ill: ``python -m tests.faults.sick_main MODULE:FUNCTION [main.py's words]``."""

from __future__ import annotations

import importlib
import sys

import main

if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    getattr(importlib.import_module(module), function)()
    sys.exit(main.main(sys.argv[2:]))
