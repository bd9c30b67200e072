#!/usr/bin/env python3
"""One line about a dream, for bars and widgets; needs nothing but Python 3.8.

    dreamloop_line.py /path/to/dreamloop/status/status.json             dreaming · aurora · 9.9 fps
    dreamloop_line.py --json /path/to/dreamloop/status/status.json /path/to/dreamloop/output

With --json: {"text", "state", "stale", "picture"}. The picture is the path of a file that never changes, so a
widget that loads it when its name changes shows every frame whole.
"""

import json
import sys
import time
from datetime import datetime, timezone

STALE_S = 5.0  # the daemon writes at least once a second


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def age_s(status):
    written = datetime.strptime(status["updated_at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return time.time() - written.timestamp()


def told(status, output=""):
    """What a widget shows of a status; None is one that could not be read."""
    if status is None:
        return {"text": "no dream", "state": "away", "stale": True, "picture": ""}
    stale = age_s(status) > STALE_S
    state = "stalled" if stale else status["state"]
    words = [state, status["dream"]["theme"]]
    if state == "dreaming":
        words.append("%.1f fps" % status["display"]["shown_fps"])
    elif not stale and status["reason"]["code"] != "ok":
        words.append(status["reason"]["sentence"])
    frame = status["frame"]
    picture = output.rstrip("/") + "/" + frame["file"] if output and frame else ""
    return {
        "text": " · ".join(word for word in words if word),
        "state": state,
        "stale": stale,
        "picture": picture,
    }


def main(arguments):
    as_json = arguments[:1] == ["--json"]
    paths = arguments[1:] if as_json else arguments
    if not 1 <= len(paths) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    line = told(read(paths[0]), *paths[1:])
    print(json.dumps(line) if as_json else line["text"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
