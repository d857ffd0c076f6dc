"""Inspects checkpoints in one file (the layout of the original releases) by names and shapes."""

import re
from typing import Final

from engine_worker.formats.inspection_result import (
    SD_TEXT_WIDTH,
    SDXL_TEXT_WIDTH,
    InspectionResult,
    base_of_text_width,
    believable_size_px,
    has_prefix,
    has_suffix,
    stranger,
    width_of,
)
from engine_worker.formats.metadata import trigger_words
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable

UNET: Final = "model.diffusion_model."
_VAE: Final = "first_stage_model."
_TEXT: Final = ("cond_stage_model.", "conditioner.embedders.")
_FIRST_CONVOLUTION: Final = f"{UNET}input_blocks.0.0.weight"
_CROSS_ATTENTION: Final = "attn2.to_k.weight"

_STRANGERS: Final = {
    f"{UNET}double_blocks.": "a Flux checkpoint",
    f"{UNET}transformer_blocks.": "a checkpoint of a transformer",
    f"{UNET}blocks.": "a checkpoint of a transformer",
    "text_encoders.": "a Stable Diffusion 3 checkpoint or a newer one",
    f"{UNET}joint_blocks.": "a Stable Diffusion 3 checkpoint",
    "edm_vpred.": "a CosXL checkpoint, which uses EDM noise",
    "edm_mean": "a Playground checkpoint, which uses EDM noise",
}
_QUANTIZED: Final = (".scale_weight", ".weight_scale", ".comfy_quant", ".absmax")
"""Suffixes of tensors beside quantized weights: scales and the like."""
_FULL_CHANNELS: Final = 320
_FULL_SIZES: Final = {
    (ModelBase.SD, _FULL_CHANNELS, SD_TEXT_WIDTH): 512,
    (ModelBase.SDXL, _FULL_CHANNELS, SDXL_TEXT_WIDTH): 1024,
}
UNET_INPUTS: Final = (4, 9)
"""Latents, or latents with a mask and a masked image's latents (inpainting)."""
_OTHER_INPUTS: Final = {
    5: "a Stable Diffusion 2 checkpoint for depth",
    7: "an upscaler",
    8: "an InstructPix2Pix checkpoint",
}
UNET_ALONE: Final = (
    "register the complete checkpoint that it belongs to, as one file or as a diffusers folder"
)
_V_PREDICTION_MARK: Final = "v_pred"
"""An empty tensor by which fine-tuners mark v-prediction, which shapes do not tell."""
_V_PREDICTION_LINE: Final = re.compile(rb"""^\s*parameterization:\s*["']?v["']?\s*$""", re.MULTILINE)
_V_PREDICTION: Final = "v_prediction"
_SIDECAR: Final = ".yaml"
_MAX_SIDECAR_BYTES: Final = 64 << 10
_RESOLUTION: Final = re.compile(r"([1-9]\d{1,4})(?:x\d+)?")


def is_checkpoint(header: Header) -> bool:
    """True if the file contains a UNet under the name that it has in a complete checkpoint."""
    return has_prefix(header, UNET)


def describe_checkpoint(header: Header) -> InspectionResult:
    """Describe a checkpoint.

    Raises: ModelUnreadable, if a part is missing or the base is not supported.
    """
    base = _base_of(header)
    _check_parts(header)
    return InspectionResult(
        model_type=ModelType.CHECKPOINT,
        model_base=base,
        weights=tuple(
            entry for name, entry in header.tensors.items() if name.startswith((UNET, _VAE, *_TEXT))
        ),
        prediction_type=_prediction_type(header),
        beside=f"{_SIDECAR} {_V_PREDICTION}" if _has_v_prediction_beside(header) else "",
        native_size_px=_native_size_px(header, base),
        trigger_words=trigger_words(header.metadata),
    )


def _base_of(header: Header) -> ModelBase:
    for prefix, what in _STRANGERS.items():
        if has_prefix(header, prefix):
            raise stranger(what)
    if has_suffix(header, *_QUANTIZED):
        raise ModelUnreadable("this checkpoint is quantized: use one with fp16, bf16 or fp32 weights")
    base_of_text_width(width_of(header, _CROSS_ATTENTION))
    if has_prefix(header, "cond_stage_model.model."):
        raise stranger("a Stable Diffusion 2 checkpoint")
    if has_prefix(header, "conditioner.embedders.1."):
        return ModelBase.SDXL
    if has_prefix(header, "conditioner."):
        raise stranger("an SDXL refiner")
    return ModelBase.SDXL if has_prefix(header, f"{UNET}label_emb.") else ModelBase.SD


def _check_parts(header: Header) -> None:
    if not has_prefix(header, *_TEXT):
        what = "a UNet and a VAE" if has_prefix(header, _VAE) else "a UNet alone"
        raise ModelUnreadable(f"this is {what}, without text encoders: {UNET_ALONE}")
    first = header.tensors.get(_FIRST_CONVOLUTION)
    if first is None or len(first.shape) != 4:
        raise ModelUnreadable("the checkpoint's UNet lacks its first convolution")
    check_unet_inputs(first.shape[1])


def check_unet_inputs(channels: int) -> None:
    """Check that the UNet's inputs are latents, with or without those of inpainting.

    Raises: ModelUnreadable.
    """
    if channels in _OTHER_INPUTS:
        raise stranger(f"{_OTHER_INPUTS[channels]} (its UNet has {channels} input channels)")
    if channels not in UNET_INPUTS:
        raise ModelUnreadable(
            f"the UNet has {channels} input channels: only 4 (text to image) and 9 (inpainting) are supported"
        )


def _prediction_type(header: Header) -> str | None:
    """None if no mark, metadata or file beside it tells, which nearly always means epsilon."""
    if _V_PREDICTION_MARK in header.tensors or _has_v_prediction_beside(header):
        return _V_PREDICTION
    said = header.metadata.get("modelspec.prediction_type")
    return {"v": _V_PREDICTION, _V_PREDICTION: _V_PREDICTION, "epsilon": "epsilon"}.get(said or "")


def _has_v_prediction_beside(header: Header) -> bool:
    """True if the configuration file of the original format beside the checkpoint says v-prediction.

    Only this line is searched for, so nothing else about that file can be learned through it.
    """
    beside = None if header.file is None else header.file.beside(_SIDECAR)
    if beside is None:
        return False
    try:
        with beside.open() as file:
            return _V_PREDICTION_LINE.search(file.read(_MAX_SIDECAR_BYTES)) is not None
    except OSError as error:
        raise ModelUnreadable(f"{beside.name} cannot be read: {error.strerror}") from error


def _native_size_px(header: Header, base: ModelBase) -> int | None:
    """The resolution in the file's metadata, else the one that all checkpoints of its shape were trained at.

    Source: https://github.com/Stability-AI/ModelSpec for `modelspec.resolution`, such as "512x512".
    """
    for key in ("spoon.native_size_px", "modelspec.resolution"):
        said = _RESOLUTION.fullmatch(header.metadata.get(key, ""))
        if said is not None and (size_px := believable_size_px(int(said[1]))) is not None:
            return size_px
    channels = header.tensors[_FIRST_CONVOLUTION].shape[0]
    return _FULL_SIZES.get((base, channels, width_of(header, _CROSS_ATTENTION) or 0))
