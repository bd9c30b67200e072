"""Benchmarks; run them with ``make bench``."""

import os

# As main.py does; it must be set before torch is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
