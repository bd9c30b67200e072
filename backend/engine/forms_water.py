"""Forms of a wet day: drops with lights out of focus behind them, and rain."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from backend.engine.noise_tiles import SIZE_PX, doubled, fine_tile, half, round_distance, sample, wrapped
from backend.engine.scene import Layer, Scene, bell, gate


def drop(scene: Scene) -> Layer:
    """Drops on a pane: each a small lens that turns the blurred lights behind it upside down."""
    u0, u1, _, u3 = scene.fields
    x = 0.7 * scene.sky_x + 0.3 * scene.still_x + 0.010 * scene.soft[0]
    y = 0.7 * scene.sky_y + 0.3 * scene.still_y + 0.010 * scene.soft[1]
    grow = torch.tanh(0.9 * scene.slow[3] + 0.3 * scene.slow[1])
    near = _drops(0.36 * x + 0.13, 0.36 * y, grow, 0.36 * scene.unit)
    small = _drops(0.93 * x + 0.4, 0.93 * y + 0.7, -grow - 0.25, 0.93 * scene.unit)
    body, lens = near.body, near
    small_body = small.body * (1.0 - body)
    bent = 0.34 * body + 0.12 * small_body
    away_x, away_y = (
        bent * (near.across * body + small.across * small_body),
        bent * (near.down * body + small.down * small_body),
    )
    lights, discs = _lights(scene, x - away_x, y - away_y, u1)
    cover = body + small_body
    shade = near.shade * body + small.shade * small_body
    shine = near.shine * body + 0.8 * small.shine * small_body
    tone = (
        0.30 * u0
        - 0.75
        + 1.1 * lights
        + 0.7 * discs * (1.0 - 0.5 * cover)
        + cover * (0.12 + 0.25 * lights)
        + shade
    )
    glow = 0.8 * discs * (1.0 - 0.4 * cover) * gate(1.5 * u0 + 0.8) * (1.0 - 0.6 * scene.key)
    height = 0.10 * lens.dome * body
    return Layer(tone + 1.5 * shine, height, glow + 0.9 * shine, 0.5 * u3 + 0.5 * discs - 0.3 * cover)


class _Lenses:
    """One layer of drops, everything ``[H, W]``: coverage, place within the drop, relief, shade, shine."""

    def __init__(self, inside: Tensor, across: Tensor, down: Tensor, radius: Tensor, soft: float) -> None:
        self.body = gate(inside / soft)
        self.across, self.down = across, down
        out = (across * across + down * down).clamp_max(1.2)
        self.dome = (1.0 - out).clamp_min(0.0)
        edge = bell(2.6 * (out - 1.0))
        fall = 0.64 * across + 0.77 * down  # away from the light, which comes from the upper left
        self.shade = 0.95 * out * fall - 0.75 * edge * (0.75 - fall)
        spot = (across + 0.36).square() + (down + 0.42).square()
        caustic = bell(3.4 * (out - 0.55)) * gate(7.0 * (fall - 0.42))
        self.shine = (1.5 * bell(28.0 * spot) + 0.42 * caustic) * (radius * 14.0).clamp_max(1.0)


def _drops(x: Tensor, y: Tensor, grow: Tensor, texel: float) -> _Lenses:
    """Drops grow and dry where the latent says, each at its own time."""
    across, down, radius, own, beyond = sample(drop_tile(), x, y)
    size = 0.58 + 0.42 * torch.tanh(1.5 * grow + 2.4 * own)
    now = radius * size
    across, down = across / size, down / size
    exact = now - now * (across * across + down * down).clamp_max(9.0).sqrt()
    inside = torch.minimum(exact, now - radius - beyond + 0.0006)  # where numbers jump there is no drop
    return _Lenses(inside, across, down, now, soft=max(0.0016, 0.6 * texel))


def _lights(scene: Scene, x: Tensor, y: Tensor, u1: Tensor) -> tuple[Tensor, Tensor]:
    """The blurred world behind: broad masses, and lights so far out of focus that they are discs."""
    small_x, small_y, small_swell = half(x, y, torch.tanh(scene.slow[2] + 0.5 * u1))
    rough = sample(fine_tile(), 0.16 * small_x, 0.16 * small_y + 0.3)[0]
    large = _discs(0.30 * small_x + 0.55, 0.30 * small_y + 0.25, small_swell)
    lesser = _discs(0.62 * small_x + 0.1, 0.62 * small_y + 0.9, -small_swell)
    masses, discs = doubled(rough + 0.9 * large + 0.5 * lesser, large + 0.8 * lesser, like=x)
    return 0.55 * masses, discs


def _discs(x: Tensor, y: Tensor, swell: Tensor) -> Tensor:
    """Even discs with a slightly brighter rim, as a lens draws points it is not focused on."""
    radius, own, beyond = sample(drop_tile()[:, 2:], x, y)
    out = (1.0 + beyond / radius) / (0.86 + 0.14 * swell)
    soft = 0.05 + 0.05 * (1.0 + own)
    rim = 0.62 + 0.30 * out.clamp_max(1.2).pow(4)
    bright = (0.55 + 0.45 * own + 0.25 * swell).clamp_min(0.0)
    disc: Tensor = gate((1.0 - out) / soft * 1.4) * rim * bright
    return disc


def rain(scene: Scene) -> Layer:
    """Slanting streaks at three depths before shafts of mist, and rings on a dim water."""
    u0, _, u2, u3 = scene.fields
    x = scene.sky_x - 0.026 * scene.slow[1] + 0.13 * scene.sky_y  # rain falls straight
    y = scene.sky_y + 0.16 * scene.slow[0]
    veil = sample(fine_tile(), 0.34 * x + 0.02 * scene.slow[3], 0.030 * scene.sky_y + 0.05 * scene.slow[0])[0]
    far = sample(rain_tile(), 1.40 * x + 0.37, 1.10 * y)[0]
    middle = sample(rain_tile(), 0.85 * x - 0.02 * y, 0.60 * y + 0.4)[0]
    near = sample(rain_tile(), 0.30 * x + 0.03 * y + 0.7, 0.22 * y + 0.2)[0]
    lit = gate(1.5 * u3 + 0.3 + 1.0 * veil)
    ground = gate(16.0 * (scene.still_y - 0.66))
    rings = _rings(scene) * ground
    streaks = (0.7 * far + 0.9 * middle + 0.55 * near) * (0.25 + 0.9 * lit)
    mist = bell((scene.still_y - 0.60) / 0.22) * gate(1.2 * u2 + 0.6)
    tone = 0.4 * u0 - 0.45 + 0.5 * veil * (1.0 - 0.8 * ground) + 0.55 * mist + 0.2 * ground * scene.soft[1]
    tone = tone + (0.6 + 0.4 * veil) * rings + 1.5 * streaks
    return Layer(tone, 0.10 * veil + 0.05 * rings, 0.3 * streaks * lit, 0.5 * u2 + 0.3 * veil)


def _rings(scene: Scene) -> Tensor:
    """Rings on water that lies in front of us; -1 to 1, fading toward the horizon."""
    near = (scene.sky_y - 0.026 * scene.slow[2] - 0.50).clamp_min(0.06)
    x, y = 0.16 * scene.sky_x / near, -0.085 / near
    radius, own, beyond = sample(drop_tile()[:, 2:], 0.5 * x + 0.5, 1.2 * y)
    out = (1.0 + beyond / radius).clamp(0.0, 2.0)
    front = 0.72 + 0.22 * torch.tanh(1.2 * scene.slow[1] + 3.0 * own)
    dense = 17.0 * 0.102 * scene.unit / (near * near * radius)  # radians a pixel, where rings lie flattest
    wave = torch.cos(17.0 * (out - front)) * bell(3.6 * (out - front + 0.12))
    return wave * gate((radius - 0.022) * 400.0) * bell(dense / 2.2)


@lru_cache(maxsize=1)
def drop_tile() -> Tensor:
    """``[1, 5, ...]``: of the nearest drop the place across and down in its radii, radius, number, distance.

    Numbers run from -1 to 1. Drops never touch; all but the distance jump half-way between two drops.
    """
    x, y, radius, own = torch.tensor(_spread_out(torch.Generator().manual_seed(71))).T[:, :, None, None]
    axis = (torch.arange(SIZE_PX) + 0.0) / SIZE_PX
    across = (axis - x + 0.5).remainder(1.0) - 0.5
    bands = []
    for top in range(0, SIZE_PX, 32):
        rows = axis[top : top + 32]
        down = (rows[:, None] - y + 0.5).remainder(1.0) - 0.5
        beyond, nearest = (torch.hypot(across, down) - radius).min(0)
        off_x = (axis - x.flatten()[nearest] + 0.5).remainder(1.0) - 0.5
        off_y = (rows[:, None] - y.flatten()[nearest] + 0.5).remainder(1.0) - 0.5
        size = radius.flatten()[nearest]
        places = (off_x / size).clamp(-3.0, 3.0), (off_y / size).clamp(-3.0, 3.0)
        bands.append(torch.stack([*places, size, own.flatten()[nearest], beyond]))
    return wrapped(torch.cat(bands, dim=1))


def _spread_out(generator: torch.Generator) -> list[tuple[float, float, float, float]]:
    """(x, y, radius, number) of drops: few large ones first, then what fits between them."""
    found: list[tuple[float, float, float, float]] = []
    for attempt in range(700):
        x, y, luck, own = torch.rand(4, generator=generator).tolist()
        radius = 0.010 + 0.062 * (1.0 - attempt / 700) ** 2.5 * (0.5 + 0.5 * luck)
        gaps = (
            ((x - a + 0.5) % 1 - 0.5) ** 2 + ((y - b + 0.5) % 1 - 0.5) ** 2 - (1.12 * (radius + r)) ** 2
            for a, b, r, _ in found
        )
        if all(gap > 0 for gap in gaps):
            found.append((x, y, radius, 2.0 * own - 1.0))
        if len(found) == 190:
            break
    return found


@lru_cache(maxsize=1)
def rain_tile() -> Tensor:
    """``[1, 1, ...]``: upright streaks, thin and tapering, of very different brightness, 0 to about 1."""
    generator = torch.Generator().manual_seed(72)
    axis = torch.arange(SIZE_PX, dtype=torch.float32)
    sky = torch.zeros(SIZE_PX, SIZE_PX)
    for _ in range(330):
        x, y, luck, long = torch.rand(4, generator=generator).tolist()
        width, length = 1.2 + 0.9 * luck**4, SIZE_PX * (0.03 + 0.09 * long)
        across = bell(round_distance(axis, x * SIZE_PX) / width)
        along = bell(round_distance(axis, y * SIZE_PX) / length)
        sky += (0.12 + 0.88 * luck**3) * along[:, None] * across
    return wrapped(sky[None])
