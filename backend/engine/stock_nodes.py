"""The stock nodes that the engine has, as ComfyUI describes them; ranges and defaults are ComfyUI's own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from backend.engine import node_work as work
from backend.engine.dialect import Dialect
from backend.engine.node_type import Input, JsonObject, NodeType, Output, Workspace

CHECKPOINT = "dreamloop-painter.safetensors"

_SAMPLERS = """
euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 exp_heun_2_x0 exp_heun_2_x0_sde
dpm_2 dpm_2_ancestral lms dpm_fast dpm_adaptive dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde
dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu
dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm ipndm ipndm_v deis res_multistep res_multistep_cfg_pp
res_multistep_ancestral res_multistep_ancestral_cfg_pp gradient_estimation gradient_estimation_cfg_pp er_sde
seeds_2 seeds_3 sa_solver sa_solver_pece ddim uni_pc uni_pc_bh2
"""
_ONLY_B_SAMPLERS = ("exp_heun_2_x0", "exp_heun_2_x0_sde")
_SCHEDULERS = "simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic kl_optimal"
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff")


def _tip(text: str) -> JsonObject:
    return {"tooltip": text}


def _link(name: str, kind: str, tooltip: str | None = None) -> Input:
    return Input(name, kind, _tip(tooltip) if tooltip else None)


def _files(*suffixes: str) -> Callable[[Workspace], list[str]]:
    return lambda workspace: [
        name for name in workspace.folders.listing("input") if name.lower().endswith(suffixes)
    ]


def _file_check(what: str) -> Callable[[Workspace, Any], str | None]:
    def check(workspace: Workspace, value: Any) -> str | None:
        return None if workspace.folders.find(str(value)) else f"Invalid {what} file: {value}"

    return check


def _file_hash(input_name: str) -> Callable[[Workspace, Mapping[str, Any]], Any]:
    def changed(workspace: Workspace, inputs: Mapping[str, Any]) -> str | None:
        path = workspace.folders.find(str(inputs.get(input_name, "")))
        return hashlib.sha256(path.read_bytes()).hexdigest() if path else None

    return changed


def _loaders() -> list[NodeType]:
    return [
        NodeType(
            "CheckpointLoaderSimple",
            (
                Input(
                    "ckpt_name",
                    "COMBO",
                    _tip("The name of the checkpoint (model) to load."),
                    lambda workspace: workspace.models["checkpoints"],
                ),
            ),
            (
                Output("MODEL", tooltip="The model used for denoising latents."),
                Output("CLIP", tooltip="The CLIP model used for encoding text prompts."),
                Output(
                    "VAE",
                    tooltip="The VAE model used for encoding and decoding images to and from latent space.",
                ),
            ),
            work.load_checkpoint,
            "loaders",
            "Load Checkpoint",
            "Loads a diffusion model checkpoint, diffusion models are used to denoise latents.",
        ),
        NodeType(
            "LoadLatent",
            (Input("latent", "COMBO", None, _files(".latent")),),
            (Output("LATENT"),),
            work.load_latent,
            "_for_testing",
            check={"latent": _file_check("latent")},
            changed=_file_hash("latent"),
        ),
        NodeType(
            "LoadImage",
            (Input("image", "COMBO", {"image_upload": True}, _files(*_PICTURE_SUFFIXES)),),
            (Output("IMAGE"), Output("MASK")),
            work.load_image,
            "image",
            "Load Image",
            check={"image": _file_check("image")},
            changed=_file_hash("image"),
        ),
    ]


def _painting(dialect: Dialect) -> list[NodeType]:
    samplers = [name for name in _SAMPLERS.split() if dialect is Dialect.B or name not in _ONLY_B_SAMPLERS]
    return [
        NodeType(
            "CLIPTextEncode",
            (
                Input(
                    "text",
                    "STRING",
                    {"multiline": True, "dynamicPrompts": True, "tooltip": "The text to be encoded."},
                ),
                _link("clip", "CLIP", "The CLIP model used for encoding the text."),
            ),
            (
                Output(
                    "CONDITIONING",
                    tooltip="A conditioning containing the embedded text used to guide the diffusion model.",
                ),
            ),
            work.encode_text,
            "conditioning",
            "CLIP Text Encode (Prompt)",
            "Encodes a text prompt using a CLIP model into an embedding that can be used to guide the "
            "diffusion model towards generating specific images.",
        ),
        NodeType(
            "KSampler",
            _sampler_inputs(samplers),
            (Output("LATENT", tooltip="The denoised latent."),),
            work.sample,
            "sampling",
            description="Uses the provided model, positive and negative conditioning to denoise the latent "
            "image.",
        ),
        NodeType(
            "VAEDecode",
            (
                _link("samples", "LATENT", "The latent to be decoded."),
                _link("vae", "VAE", "The VAE model used for decoding the latent."),
            ),
            (Output("IMAGE", tooltip="The decoded image."),),
            work.decode_latent,
            "latent",
            "VAE Decode",
            "Decodes latent images back into pixel space images.",
        ),
        NodeType(
            "VAEEncode",
            (_link("pixels", "IMAGE"), _link("vae", "VAE")),
            (Output("LATENT"),),
            work.encode_pixels,
            "latent",
            "VAE Encode",
        ),
    ]


def _sampler_inputs(samplers: list[str]) -> tuple[Input, ...]:
    seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
    steps = {"default": 20, "min": 1, "max": 10000}
    cfg = {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
    denoise = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
    return (
        _link("model", "MODEL", "The model used for denoising the input latent."),
        Input("seed", "INT", seed | _tip("The random seed used for creating the noise.")),
        Input("steps", "INT", steps | _tip("The number of steps used in the denoising process.")),
        Input(
            "cfg",
            "FLOAT",
            cfg
            | _tip(
                "The Classifier-Free Guidance scale balances creativity and adherence to the prompt. Higher "
                "values result in images more closely matching the prompt however too high values will "
                "negatively impact quality."
            ),
        ),
        Input(
            "sampler_name",
            "COMBO",
            _tip(
                "The algorithm used when sampling, this can affect the quality, speed, and style of the "
                "generated output."
            ),
            lambda _: samplers,
        ),
        Input(
            "scheduler",
            "COMBO",
            _tip("The scheduler controls how noise is gradually removed to form the image."),
            lambda _: _SCHEDULERS.split(),
        ),
        _link(
            "positive",
            "CONDITIONING",
            "The conditioning describing the attributes you want to include in the image.",
        ),
        _link(
            "negative",
            "CONDITIONING",
            "The conditioning describing the attributes you want to exclude from the image.",
        ),
        _link("latent_image", "LATENT", "The latent image to denoise."),
        Input(
            "denoise",
            "FLOAT",
            denoise
            | _tip(
                "The amount of denoising applied, lower values will maintain the structure of the initial "
                "image allowing for image to image sampling."
            ),
        ),
    )


def _latents(dialect: Dialect) -> list[NodeType]:
    size = {"default": 512, "min": 16, "max": 16384, "step": 8}
    first = {"min": -16384, "max": 16384} if dialect is Dialect.B else {"min": 0, "max": 63}
    return [
        NodeType(
            "EmptyLatentImage",
            (
                Input("width", "INT", size | _tip("The width of the latent images in pixels.")),
                Input("height", "INT", size | _tip("The height of the latent images in pixels.")),
                Input(
                    "batch_size",
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": 4096,
                        "tooltip": "The number of latent images in the batch.",
                    },
                ),
            ),
            (Output("LATENT", tooltip="The empty latent image batch."),),
            work.empty_latent,
            "latent",
            "Empty Latent Image",
            "Create a new batch of empty latent images to be denoised via sampling.",
        ),
        NodeType(
            "LatentFromBatch",
            (
                _link("samples", "LATENT"),
                Input("batch_index", "INT", {"default": 0} | first),
                Input("length", "INT", {"default": 1, "min": 1, "max": 64}),
            ),
            (Output("LATENT"),),
            work.latent_from_batch,
            "latent/batch",
            "Latent From Batch",
        ),
    ]


def _savers(dialect: Dialect) -> list[NodeType]:
    passed_on = dialect is Dialect.B
    images = (Output("IMAGE", "images"),) if passed_on else ()
    return [
        NodeType(
            "SaveLatent",
            (
                _link("samples", "LATENT"),
                Input("filename_prefix", "STRING", {"default": "latents/ComfyUI"}),
            ),
            (Output("LATENT", "samples"),) if passed_on else (),
            work.save_latent,
            "_for_testing",
            is_output=True,
            writes_graph=True,
        ),
        NodeType(
            "SaveImage",
            (
                _link("images", "IMAGE", "The images to save."),
                Input(
                    "filename_prefix",
                    "STRING",
                    {
                        "default": "ComfyUI",
                        "tooltip": "The prefix for the file to save. This may include formatting information "
                        "such as %date:yyyy-MM-dd% or %Empty Latent Image.width% to include values from "
                        "nodes.",
                    },
                ),
            ),
            images,
            work.save_image,
            "image",
            "Save Image",
            "Saves the input images to your ComfyUI output directory.",
            is_output=True,
            writes_graph=True,
        ),
        NodeType(
            "PreviewImage",
            (_link("images", "IMAGE"),),
            images,
            work.preview_image,
            "image",
            "Preview Image",
            "Saves the input images to your ComfyUI output directory.",
            is_output=True,
            writes_graph=True,
        ),
        NodeType(
            "SaveImageWebsocket",
            (_link("images", "IMAGE"),),
            (),
            work.send_image,
            "api/image",
            module="custom_nodes.websocket_image_save",
            is_output=True,
            changed=lambda _workspace, _inputs: time.monotonic_ns(),
        ),
    ]


def stock_nodes(dialect: Dialect) -> dict[str, NodeType]:
    """All nodes by class name."""
    nodes = [*_loaders(), *_painting(dialect), *_latents(dialect), *_savers(dialect)]
    return {node.name: node for node in nodes}
