"""The forms a picture is made of, and how several share one picture.

Each form takes the scene and gives a Layer. None of them knows colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from backend.engine.forms_flowing import dust, filament, smoke, strata, veil, wave
from backend.engine.forms_grown import frond
from backend.engine.forms_ink import ink
from backend.engine.forms_solid import cell, crystal, facet
from backend.engine.forms_water import drop, rain
from backend.engine.scene import Layer, Scene

FORMS: Mapping[str, Callable[[Scene], Layer]] = {
    form.__name__: form
    for form in (filament, veil, wave, cell, facet, crystal, strata, dust, smoke, ink, drop, rain, frond)
}

_TERRITORY = 1.5
"""How strongly places prefer a form, against the forms' weights."""
_THIN = 0.15
"""Weight from which on a form is quite there: a crisp one would else change the whole balance at once."""
_BORDER = 3.5
"""How crisp the borders between territories are."""


def laid(scene: Scene, weights: Mapping[str, float]) -> Layer:
    """The forms by their weights, each in territories of its own.

    Forms that lay on each other everywhere would take each other's contrast. Here a form that gains weight
    conquers the picture from somewhere, in full strength, as a dream changes.
    """
    if len(weights) == 1:
        return FORMS[next(iter(weights))](scene)
    shares = _shares(scene, weights)
    tone, height, glow, tint = (torch.zeros_like(scene.x) for _ in range(4))
    for name, share in shares.items():
        layer = FORMS[name](scene)
        tone.add_(layer.tone * share)
        height.add_(layer.height * share)
        glow.add_(layer.glow * share)
        if layer.tint is not None:
            tint.add_(layer.tint * share)
    return Layer(tone, height, glow, tint)


def _shares(scene: Scene, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """``[H, W]`` each, summing to 1."""
    claims = {name: _claim(scene, name, weight) for name, weight in weights.items()}
    total = torch.stack(list(claims.values())).sum(0)
    shares = {name: claim.div_(total) for name, claim in claims.items()}
    dense = {name: _density(weight) for name, weight in weights.items()}
    if all(one == 1.0 for one in dense.values()):
        return shares
    # A form that has hardly come is thin: through it shows what is there, by its weight.
    seen = sum(weights[name] * dense[name] for name in weights)
    bare = torch.stack([share * (1.0 - dense[name]) for name, share in shares.items()]).sum(0)
    return {
        name: share.mul_(dense[name]).add_(bare, alpha=weights[name] * dense[name] / seen)
        for name, share in shares.items()
    }


def _density(weight: float) -> float:
    """0 for a form that is about to come, 1 for one that has; softly between."""
    grown = min(weight / _THIN, 1.0)
    return grown * grown * (3.0 - 2.0 * grown)


def _claim(scene: Scene, name: str, weight: float) -> Tensor:
    """How much a form wants each place: an own direction in the latent's content tells where."""
    angle = math.tau * list(FORMS).index(name) * 0.381966
    wish = math.cos(angle) * scene.slow[1] + math.sin(angle) * scene.slow[2]
    wish = _TERRITORY * wish + 0.35 * scene.soft[2]
    return torch.exp((_BORDER * (wish + math.log(max(weight, 1e-4)))).clamp_(-30.0, 30.0))
