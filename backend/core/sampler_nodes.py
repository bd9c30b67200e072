"""The nodes of one sampling.

Most families sample with KSampler, which makes noise levels of its own for every denoise. A model that was
distilled to a few levels has to walk the very levels that it knows: all of them for a picture from nothing,
the last ones for a dream step.
"""

from __future__ import annotations

from dataclasses import replace

from backend.core.handles import (
    GraphNodes,
    GuiderHandle,
    Handles,
    LatentHandle,
    NoiseHandle,
    SamplerHandle,
    SigmasHandle,
)
from backend.core.sampling import Draw


def sample(nodes: GraphNodes, handles: Handles) -> Handles:
    """The result of ``handles.draw``, begun at ``handles.latent``.

    Raises:
        ValueError: There is no draw, nothing to start from, or the texts are not encoded.
    """
    if handles.draw is None or handles.latent is None:
        raise ValueError("a sampling needs a draw and a latent to start from")
    if handles.family.tail:
        latent = _walk_the_tail(nodes, handles, handles.draw, handles.latent)
    else:
        latent = _ksampler(nodes, handles, handles.draw, handles.latent)
    return replace(handles, latent=latent, image=None)


def _ksampler(nodes: GraphNodes, handles: Handles, draw: Draw, start: LatentHandle) -> LatentHandle:
    positive, negative = handles.texts
    how = draw.sampling
    node = nodes.add(
        "KSampler",
        model=handles.model,
        positive=positive,
        negative=negative,
        latent_image=start,
        seed=draw.seed,
        steps=how.steps,
        cfg=how.cfg,
        sampler_name=how.sampler,
        scheduler=how.scheduler,
        denoise=draw.denoise,
    )
    return LatentHandle(node)


def _walk_the_tail(nodes: GraphNodes, handles: Handles, draw: Draw, start: LatentHandle) -> LatentHandle:
    positive, negative = handles.texts
    noise = NoiseHandle(nodes.add("RandomNoise", noise_seed=draw.seed))
    guider = GuiderHandle(
        nodes.add(
            "CFGGuider",
            model=handles.model,
            positive=positive,
            negative=negative,
            cfg=draw.sampling.cfg,
        )
    )
    sampler = SamplerHandle(nodes.add("KSamplerSelect", sampler_name=draw.sampling.sampler))
    node = nodes.add(
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider,
        sampler=sampler,
        sigmas=_tail(nodes, draw, _levels(nodes, handles, draw)),
        latent_image=start,
    )
    return LatentHandle(node)


def _levels(nodes: GraphNodes, handles: Handles, draw: Draw) -> SigmasHandle:
    """All noise levels of a picture from nothing."""
    how, own = draw.sampling, handles.family.schedule_node
    if own is not None:
        return SigmasHandle(nodes.add(own, steps=how.steps, width=draw.width_px, height=draw.height_px))
    return SigmasHandle(
        nodes.add(
            "BasicScheduler", model=handles.model, scheduler=how.scheduler, steps=how.steps, denoise=1.0
        )
    )


def _tail(nodes: GraphNodes, draw: Draw, levels: SigmasHandle) -> SigmasHandle:
    skipped = draw.sampling.steps - draw.tail_steps
    if skipped == 0:
        return levels
    return SigmasHandle(nodes.add("SplitSigmas", sigmas=levels, step=skipped), 1)
