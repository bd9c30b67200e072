"""Between pictures and latents: encoding, decoding, resizing, masks."""

from __future__ import annotations

from dataclasses import replace

from backend.core.handles import (
    ConditioningHandle,
    GraphNodes,
    Handle,
    Handles,
    ImageHandle,
    LatentHandle,
    MaskHandle,
    NumberHandle,
    VaeHandle,
)

# Only video VAEs heed these, but the nodes want them.
_FRAMES = {"temporal_size": 64, "temporal_overlap": 8}


def decode(nodes: GraphNodes, latent: LatentHandle, vae: VaeHandle) -> ImageHandle:
    """The pictures of a batch of latents, in tiles where the VAE is to work so."""
    if vae.tiles is None:
        return ImageHandle(nodes.add("VAEDecode", samples=latent, vae=vae))
    tiles = {"tile_size": vae.tiles.tile_px, "overlap": vae.tiles.overlap_px}
    return ImageHandle(nodes.add("VAEDecodeTiled", samples=latent, vae=vae, **tiles, **_FRAMES))


def encode(nodes: GraphNodes, image: ImageHandle, vae: VaeHandle) -> LatentHandle:
    """The latent of a picture, in tiles where the VAE is to work so."""
    if vae.tiles is None:
        return LatentHandle(nodes.add("VAEEncode", pixels=image, vae=vae))
    tiles = {"tile_size": vae.tiles.tile_px, "overlap": vae.tiles.overlap_px}
    return LatentHandle(nodes.add("VAEEncodeTiled", pixels=image, vae=vae, **tiles, **_FRAMES))


def picture(nodes: GraphNodes, handles: Handles) -> ImageHandle | None:
    """The picture that is dreamt on, decoded if it is there as a latent only; None if there is nothing."""
    if handles.image is not None:
        return handles.image
    return None if handles.latent is None else decode(nodes, handles.latent, handles.vae)


def size_of(nodes: GraphNodes, image: ImageHandle) -> tuple[NumberHandle, NumberHandle]:
    """Width and height of a picture that is known only when the graph runs."""
    node = nodes.add("GetImageSize", image=image)
    return NumberHandle(node, 0), NumberHandle(node, 1)


def resize_image(
    nodes: GraphNodes,
    image: ImageHandle,
    size: tuple[int, int] | tuple[NumberHandle, NumberHandle],
    *,
    method: str = "lanczos",
    crop: str = "disabled",
) -> ImageHandle:
    """A picture at another size in pixels; ``crop="center"`` cuts instead of stretching."""
    width, height = size
    return ImageHandle(
        nodes.add("ImageScale", image=image, upscale_method=method, width=width, height=height, crop=crop)
    )


def resize_latent(
    nodes: GraphNodes, latent: LatentHandle, size_px: tuple[int, int], cell_px: int
) -> LatentHandle:
    """A latent of a picture of that size. The node counts 8 px a cell, whatever the family's cells are."""
    width, height = (side // cell_px * 8 for side in size_px)
    return LatentHandle(
        nodes.add(
            "LatentUpscale",
            samples=latent,
            upscale_method="bislerp",
            width=width,
            height=height,
            crop="disabled",
        )
    )


def scale_latent(nodes: GraphNodes, latent: LatentHandle, factor: float) -> LatentHandle:
    """A latent with that many times the cells along each side, rounded."""
    return LatentHandle(
        nodes.add("LatentUpscaleBy", samples=latent, upscale_method="bislerp", scale_by=factor)
    )


def join_masks(
    nodes: GraphNodes, one: MaskHandle | None, other: MaskHandle, image: ImageHandle
) -> MaskHandle:
    """Both masks at the picture's size, painted where either says so; the other alone if there is no one."""
    if one is None:
        return other
    size = size_of(nodes, image)
    ours, theirs = (_resize_mask(nodes, mask, size) for mask in (one, other))
    return MaskHandle(nodes.add("MaskComposite", destination=ours, source=theirs, x=0, y=0, operation="add"))


def start_latent(nodes: GraphNodes, handles: Handles) -> Handles:
    """The latent that the sampling starts from, with its mask.

    Raises:
        ValueError: There is neither a latent nor a picture.
    """
    if handles.mask is not None and handles.mask_conditions:
        return _conditioned(nodes, handles, handles.mask)
    if handles.latent is None and handles.image is None:
        raise ValueError("a sampling starts from a latent or a picture, and there is none")
    latent = handles.latent
    if latent is None and handles.image is not None:
        latent = encode(nodes, handles.image, handles.vae)
    if handles.mask is not None:
        latent = LatentHandle(nodes.add("SetLatentNoiseMask", samples=_given(latent), mask=handles.mask))
    return replace(handles, latent=latent)


def _conditioned(nodes: GraphNodes, handles: Handles, mask: MaskHandle) -> Handles:
    positive, negative = handles.texts
    node = nodes.add(
        "InpaintModelConditioning",
        positive=positive,
        negative=negative,
        vae=handles.vae,
        pixels=_given(picture(nodes, handles)),
        mask=mask,
        noise_mask=True,
    )
    return replace(
        handles,
        positive=ConditioningHandle(node, 0),
        negative=ConditioningHandle(node, 1),
        latent=LatentHandle(node, 2),
    )


def _resize_mask(nodes: GraphNodes, mask: MaskHandle, size: tuple[NumberHandle, NumberHandle]) -> MaskHandle:
    image = ImageHandle(nodes.add("MaskToImage", mask=mask))
    scaled = resize_image(nodes, image, size, method="bilinear")
    return MaskHandle(nodes.add("ImageToMask", image=scaled, channel="red"))


def _given(handle: Handle | None) -> Handle:
    if handle is None:
        raise ValueError("there is nothing to paint on")
    return handle
