"""From readings to a style: four colours graded in Oklab, forms and dials."""

from __future__ import annotations

import math
from collections.abc import Mapping

from backend.engine.lexicon import Reading
from backend.engine.oklab import oklab_from_hex
from backend.engine.style import FORMS, Style

Lab = list[float]
_DIALS = ("scale", "glow", "haze", "contrast", "spread", "lean", "warp", "film")


def style_of(positive: Reading, negative: Reading, cfg: float) -> Style:
    """The style that ``positive`` asks for, away from ``negative``; ``cfg`` says how strictly."""
    pull = min((1.0 - math.exp(-max(cfg, 0.0) / 3.0)) / 0.9, 1.1)
    moods = {
        key: positive.moods.get(key, 0.0) - 0.5 * negative.moods.get(key, 0.0)
        for key in _keys(positive, negative)
    }
    colours = _grade(_hues(positive, pull), moods, pull)
    colours = {name: _away(lab, negative, pull) for name, lab in colours.items()}
    dials = {name: _soft(moods.get(name, 0.0)) * min(pull, 1.0) for name in _DIALS}
    return Style.build(colours, _forms(positive, negative), {**dials, "body": -0.4})


def _keys(*readings: Reading) -> list[str]:
    return sorted({key for reading in readings for key in reading.moods})


def _soft(value: float) -> float:
    return 0.85 * math.tanh(value / 0.85)


def _forms(positive: Reading, negative: Reading) -> Mapping[str, float]:
    """Squared, so that a theme has one or two forms instead of a little of each."""
    own = {form: positive.forms.get(form, 0.0) - 0.7 * negative.forms.get(form, 0.0) for form in FORMS}
    if max(own.values()) <= 0.05:
        place = positive.place
        count = len(FORMS)
        own = {FORMS[place % count]: 1.0, FORMS[place // count % count]: 0.6}
    return {form: max(value, 0.0) ** 2 for form, value in own.items()}


def _hues(reading: Reading, pull: float) -> list[tuple[Lab, float]]:
    """The colours named, with their weights; a quiet hue of the text's own where none is."""
    found = [(list(oklab_from_hex(value)), weight) for value, weight in reading.colours]
    if not found:
        angle = reading.place % 4096 / 4096 * math.tau
        found = [([0.6, 0.07 * math.cos(angle), 0.07 * math.sin(angle)], 1.0)]
    return [
        ([light, green * min(pull, 1.0), blue * min(pull, 1.0)], weight)
        for (light, green, blue), weight in found
    ]


def _grade(hues: list[tuple[Lab, float]], moods: Mapping[str, float], pull: float) -> dict[str, Lab]:
    """Four colours by light: shadows borrow the darkest hue, lights the palest, accents the richest."""
    total = sum(weight for _, weight in hues)
    mean = [sum(lab[i] * weight for lab, weight in hues) / total for i in range(3)]
    key = math.tanh(1.1 * moods.get("key", 0.0) + 1.6 * (mean[0] - 0.55))
    dark = _blend(mean, min(hues, key=lambda hue: hue[0][0] + 0.3 / (0.2 + hue[1]) * 0.3)[0], 0.85)
    pale = _blend(mean, max(hues, key=lambda hue: hue[0][0] - 0.3 / (0.2 + hue[1]) * 0.3)[0], 0.85)
    rich = max(hues, key=lambda hue: _chroma(hue[0]) * hue[1])[0]
    body = _blend(mean, max(hues, key=lambda hue: hue[1])[0], 0.85)
    warm, gain = 0.02 * _soft(moods.get("warm", 0.0)), 1.0 + 0.5 * _soft(moods.get("chroma", 0.0))
    high = max(key, 0.0) ** 1.5
    return {
        "shadow": _set(dark, _mix(0.17 + 0.07 * min(key, 0), 0.55, high), 0.85 * gain, 0.10, 0.0),
        "mid": _set(body, _mix(0.42 + 0.16 * min(key, 0), 0.80, high), 1.0 * gain, 0.13, warm),
        "light": _set(_lit(pale), _mix(0.82 + 0.08 * min(key, 0), 0.95, high), 0.9 * gain, 0.12, 1.5 * warm),
        "accent": _set(
            _lit(rich), _mix(min(max(rich[0] + 0.14, 0.64), 0.84), 0.52, high), 1.2 * gain, 0.18, warm
        ),
    }


def _lit(lab: Lab) -> Lab:
    """Reds and oranges turn toward yellow as they brighten, as fire does; salmon is not what is meant."""
    light, green_red, blue_yellow = lab
    fire = max(min(green_red, blue_yellow), 0.0)
    return [light, green_red - 0.45 * fire, blue_yellow + 0.35 * fire]


def _set(lab: Lab, lightness: float, gain: float, limit: float, warm: float) -> Lab:
    """The hue of ``lab`` at another lightness, its chroma scaled and softly limited."""
    chroma = _chroma(lab) * gain
    scale = limit * math.tanh(chroma / limit) / max(_chroma(lab), 1e-6)
    return [lightness, lab[1] * scale + 0.4 * warm, lab[2] * scale + warm]


def _away(lab: Lab, negative: Reading, pull: float) -> Lab:
    """Takes out what the colour shares with the hues of the negative prompt."""
    light, green, blue = lab
    for value, weight in negative.colours[:12]:
        _, green_no, blue_no = oklab_from_hex(value)
        size = math.hypot(green_no, blue_no)
        if size < 0.03:
            continue
        shared = max((green * green_no + blue * blue_no) / size, 0.0) * min(0.8 * weight * pull, 1.0)
        green, blue = green - shared * green_no / size, blue - shared * blue_no / size
    return [light, green, blue]


def _chroma(lab: Lab) -> float:
    return math.hypot(lab[1], lab[2])


def _blend(one: Lab, other: Lab, share: float) -> Lab:
    return [_mix(a, b, share) for a, b in zip(one, other, strict=True)]


def _mix(one: float, other: float, share: float) -> float:
    return one + (other - one) * share
