"""What the commands tell scripts, after sysexits.h."""

from __future__ import annotations

OK = 0
REFUSED = 1
USAGE = 2
NO_DAEMON = 69
FAULT = 70
STORAGE = 74
ALREADY_RUNNING = 75
NO_PERMISSION = 77
CONFIG = 78
INTERRUPTED = 130
