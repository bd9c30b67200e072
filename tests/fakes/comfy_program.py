"""The least that passes for a ComfyUI: ``comfy_program.py --port N [HABIT...] [--cpu]``.

Habits: ``crashes`` at once; ``mute`` never listens; ``noisy`` says 12 MB first; ``stubborn`` ignores SIGTERM;
``family`` starts a child of its own, whose id it tells. Needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

CHILD: list[int] = []


class Face(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        system = {"comfyui_version": "0.0.1", "os": "posix"}
        facts = {"pid": os.getpid(), "argv": sys.argv, "child": CHILD, "environ": dict(os.environ)}
        body = json.dumps({"system": system | facts, "devices": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    habits = sys.argv
    if "stubborn" in habits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("Starting server")
    if "noisy" in habits:
        for _ in range(12_000):
            say("x" * 1000)
    if "crashes" in habits:
        sys.stderr.write("ModuleNotFoundError: No module named 'torch'\n")
        sys.exit(3)
    if "family" in habits:
        sleeper = "import time; time.sleep(600)"
        CHILD.append(subprocess.Popen([sys.executable, "-S", "-c", sleeper]).pid)
    if "mute" in habits:
        time.sleep(600)
    HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Face).serve_forever()


if __name__ == "__main__":
    main()
