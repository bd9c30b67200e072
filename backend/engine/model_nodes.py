"""The nodes around the model: checkpoint, text, sampling, decoding and encoding.

Names, ranges, defaults and tooltips are ComfyUI's own, since clients read them.
"""

from __future__ import annotations

from backend.engine import node_work as work
from backend.engine.dialect import Dialect
from backend.engine.node_type import Input, JsonObject, NodeType, Output, link, tip

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


def model_nodes(dialect: Dialect) -> list[NodeType]:
    """What ComfyUI does with a model, and the engine with its painter."""
    return [_checkpoint(), _text(), _sampler(dialect), _decoder(), _encoder()]


def _checkpoint() -> NodeType:
    vae = "The VAE model used for encoding and decoding images to and from latent space."
    name_tip = tip("The name of the checkpoint (model) to load.")
    return NodeType(
        "CheckpointLoaderSimple",
        (Input("ckpt_name", "COMBO", name_tip, lambda workspace: workspace.models["checkpoints"]),),
        (
            Output("MODEL", tooltip="The model used for denoising latents."),
            Output("CLIP", tooltip="The CLIP model used for encoding text prompts."),
            Output("VAE", tooltip=vae),
        ),
        work.load_checkpoint,
        "loaders",
        "Load Checkpoint",
        "Loads a diffusion model checkpoint, diffusion models are used to denoise latents.",
    )


def _text() -> NodeType:
    text = {"multiline": True, "dynamicPrompts": True, "tooltip": "The text to be encoded."}
    given = "A conditioning containing the embedded text used to guide the diffusion model."
    return NodeType(
        "CLIPTextEncode",
        (Input("text", "STRING", text), link("clip", "CLIP", "The CLIP model used for encoding the text.")),
        (Output("CONDITIONING", tooltip=given),),
        work.encode_text,
        "conditioning",
        "CLIP Text Encode (Prompt)",
        "Encodes a text prompt using a CLIP model into an embedding that can be used to guide the diffusion "
        "model towards generating specific images.",
    )


def _sampler(dialect: Dialect) -> NodeType:
    return NodeType(
        "KSampler",
        (
            link("model", "MODEL", "The model used for denoising the input latent."),
            *_dials(),
            *_methods(dialect),
            link("positive", "CONDITIONING", _CONDITIONING.format("include in")),
            link("negative", "CONDITIONING", _CONDITIONING.format("exclude from")),
            link("latent_image", "LATENT", "The latent image to denoise."),
            _denoise(),
        ),
        (Output("LATENT", tooltip="The denoised latent."),),
        work.sample_with_previews if dialect.has_previews else work.sample,
        "sampling",
        description="Uses the provided model, positive and negative conditioning to denoise the latent "
        "image.",
    )


_CONDITIONING = "The conditioning describing the attributes you want to {} the image."


def _dials() -> tuple[Input, ...]:
    seed: JsonObject = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
    steps: JsonObject = {"default": 20, "min": 1, "max": 10000}
    cfg: JsonObject = {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
    cfg_tip = tip(
        "The Classifier-Free Guidance scale balances creativity and adherence to the prompt. Higher values "
        "result in images more closely matching the prompt however too high values will negatively impact "
        "quality."
    )
    return (
        Input("seed", "INT", seed | tip("The random seed used for creating the noise.")),
        Input("steps", "INT", steps | tip("The number of steps used in the denoising process.")),
        Input("cfg", "FLOAT", cfg | cfg_tip),
    )


def _methods(dialect: Dialect) -> tuple[Input, ...]:
    samplers = [name for name in _SAMPLERS.split() if dialect is Dialect.B or name not in _ONLY_B_SAMPLERS]
    sampler_tip = tip(
        "The algorithm used when sampling, this can affect the quality, speed, and style of the generated "
        "output."
    )
    scheduler_tip = tip("The scheduler controls how noise is gradually removed to form the image.")
    return (
        Input("sampler_name", "COMBO", sampler_tip, lambda _: samplers),
        Input("scheduler", "COMBO", scheduler_tip, lambda _: _SCHEDULERS.split()),
    )


def _denoise() -> Input:
    options: JsonObject = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
    told = tip(
        "The amount of denoising applied, lower values will maintain the structure of the initial image "
        "allowing for image to image sampling."
    )
    return Input("denoise", "FLOAT", options | told)


def _decoder() -> NodeType:
    return NodeType(
        "VAEDecode",
        (
            link("samples", "LATENT", "The latent to be decoded."),
            link("vae", "VAE", "The VAE model used for decoding the latent."),
        ),
        (Output("IMAGE", tooltip="The decoded image."),),
        work.decode_latent,
        "latent",
        "VAE Decode",
        "Decodes latent images back into pixel space images.",
    )


def _encoder() -> NodeType:
    return NodeType(
        "VAEEncode",
        (link("pixels", "IMAGE"), link("vae", "VAE")),
        (Output("LATENT"),),
        work.encode_pixels,
        "latent",
        "VAE Encode",
    )
