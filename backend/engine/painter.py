"""**DreamPainter**: paints abstract dreams on the CPU where a diffusion model would stand.

Import this module only where pictures are painted: it brings torch with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from backend.engine import canvas, content
from backend.engine.blend import Blend, blended, style_of_blend
from backend.engine.lexicon import read
from backend.engine.painting import Latent, OnStep, Pixels, Window
from backend.engine.photo import latent_of
from backend.engine.style import Style, join, split

_PROMPT_SHARE = 0.30
"""Part of a picture's large forms that belongs to its prompt rather than to its seed."""

_BOUND = 8.0


class DreamPainter:
    """The embedded engine's painter; see ``backend.engine.painting.Painter`` for the contract."""

    def __init__(self, *, threads: int | None = None) -> None:
        """Paints with ``threads`` threads (a setting of the whole process), or as torch was found."""
        if threads is not None:
            torch.set_num_threads(threads)

    def text(self, text: str) -> Blend:
        """What the text says about colours, forms and light."""
        return Blend(((read(text), 1.0),))

    def blend(self, parts: Sequence[tuple[Blend, float]]) -> Blend:
        """Several texts in one: their styles and places are mixed, not their words."""
        return blended(parts)

    @torch.inference_mode()
    def sample(
        self,
        latent: Latent,
        positive: Blend,
        negative: Blend,
        *,
        seed: int,
        steps: int,
        cfg: float,
        denoise: float,
        on_step: OnStep,
    ) -> Latent:
        """Moves each latent's content and style toward the prompt's own by ``denoise``."""
        style = style_of_blend(positive, negative, cfg)
        starts = [split(_tensor(one)) for one in latent]
        goals = [_goal(positive, seed + index, start.shape[1:]) for index, (start, _) in enumerate(starts)]
        moved = latent.copy()
        for step in range(1, steps + 1):
            share = min(max(denoise, 0.0), 1.0) * step / steps
            if share > 0.0:
                pairs = zip(starts, goals, strict=True)
                moved = np.stack([_moved(start, goal, style, share) for start, goal in pairs])
            on_step(step, steps, moved)
        return moved

    def decode(self, latent: Latent) -> Iterator[Pixels]:
        """Pictures in batch order, each painted when it is asked for."""
        for one in latent:
            with torch.inference_mode():
                picture = canvas.paint(_tensor(one))
            yield picture.numpy()

    @torch.inference_mode()
    def decode_window(self, latent: Latent, window: Window) -> Pixels:
        """The same pixels as in the whole picture; memory grows with the window only."""
        return canvas.paint(_tensor(latent[0]), window).numpy()

    @torch.inference_mode()
    def encode(self, picture: Pixels) -> Latent:
        """A latent whose picture has the same masses of light and colour."""
        return latent_of(torch.from_numpy(np.array(picture)))[None].numpy()


def _tensor(latent: Latent) -> torch.Tensor:
    """A copy that can be painted from, whatever numbers somebody sent."""
    finite = torch.from_numpy(np.array(latent, dtype=np.float32)).nan_to_num(nan=0.0)
    return finite.clamp(-_BOUND, _BOUND)


def _goal(positive: Blend, seed: int, size: torch.Size) -> torch.Tensor:
    height, width = size
    own = content.field(seed, height, width)
    places = [weight * content.field(one.place, height, width) for one, weight in positive.parts]
    of_prompt = content.normal(torch.stack(places).sum(0)) if len(places) > 1 else places[0]
    return content.normal((1.0 - _PROMPT_SHARE**2) ** 0.5 * own + _PROMPT_SHARE * of_prompt)


def _moved(start: tuple[torch.Tensor, Style], goal: torch.Tensor, style: Style, share: float) -> Latent:
    fields, before = start
    mixed = Style(torch.lerp(before.codes, style.codes, share**0.9))
    return join(content.toward(fields, goal, share), mixed).numpy()
