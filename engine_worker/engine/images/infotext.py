"""The generation parameters of an image as text (infotext), in the format that Stable Diffusion tools share.

It is a prompt, a line `Negative prompt: ...`, and a line of `Name: value` pairs. LoRAs follow the prompt as
`<lora:name:weight>`, where those tools look for them; those of tags within it, too, by registered names.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kernel.protocol.enums import ImageFit, InpaintArea, InputKind, MaskMode
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, Control, ModelSource
from kernel.protocol.prompts import MARKS_OF_TAGS, without_lora_tags
from kernel.protocol.specs import JobOrder, JobSpec
from kernel.protocol.version import VERSION

_HASH_DIGITS: Final = 10
# The names that Stable Diffusion tools use for fitting an input image.
_RESIZE_MODES: Final = {
    ImageFit.STRETCH: "Just Resize",
    ImageFit.CROP: "Crop and Resize",
    ImageFit.PAD: "Resize and Fill",
}
_HASH_NAMES: Final = {
    InputKind.REFERENCE: "Init image hash",
    InputKind.MASK: "Mask hash",
    InputKind.POSE: "ControlNet image hash",
}
_SEPARATORS: Final = ',:"\n'


Digests = Mapping[InputKind, str]
"""The sha256 of each input image file."""


@dataclass(frozen=True, slots=True)
class InfotextSource:
    """The facts about an image that are not in its job's order."""

    encoded_tile_px: int | None = None
    """The side of the tiles in which the VAE encoded the input images; None if in one piece."""
    decoded_tile_px: int | None = None
    """The side of the tiles in which the VAE decoded the image; None if in one piece."""
    digests: Digests = field(default_factory=dict)


def infotext(
    order: JobOrder,
    seed: int,
    checkpoint: ModelSource,
    sampler: str,
    facts: InfotextSource = InfotextSource(),
) -> str:
    """Everything needed to make the image again, given the files that the hashes identify.

    `sampler` is the scheduler's name in infotexts.
    """
    spec, models = order.spec, {source.model_id: source for source in order.models}
    pairs = {
        "Steps": str(spec.steps),
        "Sampler": sampler,
        "CFG scale": _number(spec.guidance_scale),
        **({} if spec.guidance_rescale is None else {"CFG rescale": _number(spec.guidance_rescale)}),
        **({} if spec.eta is None else {"Eta": _number(spec.eta)}),
        "Seed": str(seed),
        "Size": f"{spec.width_px}x{spec.height_px}",
        **_checkpoint(checkpoint),
        **_further_models(spec, models),
        **_images_in(spec, facts),
        **_controls(spec, models),
        **_images_out(spec, models, facts),
        **{f"Scheduler {name}": str(value) for name, value in sorted(spec.scheduler_config.items())},
        # The source of random numbers for the noise, in A1111's terms: never the GPU.
        "RNG": "CPU",
        "Version": f"automatic-spoon {VERSION}",
    }
    prompt = without_lora_tags(spec.prompt) if spec.lora_tags else spec.prompt
    lines = [" ".join([prompt, *_lora_tags(spec, models)]).strip()]
    if spec.negative_prompt:
        lines.append(f"Negative prompt: {spec.negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items()))
    return "\n".join(lines)


_Models = dict[ModelId, ModelSource]
_Pairs = dict[str, str]


def _checkpoint(source: ModelSource) -> _Pairs:
    digits = _hash(source)
    return ({"Model hash": digits} if digits else {}) | {"Model": source.name}


def _further_models(spec: JobSpec, models: _Models) -> _Pairs:
    pairs: _Pairs = {}
    if spec.vae != OWN_VAE:
        digits = _hash(models.get(spec.vae))
        pairs |= ({"VAE hash": digits} if digits else {}) | {"VAE": _name(spec.vae, models)}
    if spec.clip_skip is not None:
        pairs["Clip skip"] = str(spec.clip_skip)
    pairs["Prompt technique"] = spec.long_prompt_technique
    loras = _hashes([use.model_id for use in spec.loras], models)
    embeddings = _hashes(spec.embeddings, models)
    return (
        pairs | ({"Lora hashes": loras} if loras else {}) | ({"TI hashes": embeddings} if embeddings else {})
    )


def _images_in(spec: JobSpec, facts: InfotextSource) -> _Pairs:
    """The control image is listed with each control instead."""
    pairs: _Pairs = {}
    if InputKind.REFERENCE in spec.inputs:
        assert spec.strength is not None
        pairs["Denoising strength"] = _number(spec.strength)
        if spec.image_fit is not None:
            pairs["Resize mode"] = _RESIZE_MODES[spec.image_fit]
    if spec.has_mask:
        pairs |= _mask(spec)
    if facts.encoded_tile_px is not None:
        pairs["VAE encoder tiling"] = str(facts.encoded_tile_px)
    found = facts.digests
    return pairs | {name: found[kind][:_HASH_DIGITS] for kind, name in _HASH_NAMES.items() if kind in found}


def _mask(spec: JobSpec) -> _Pairs:
    is_inverted = spec.mask_mode is MaskMode.INVERTED
    pairs = {"Mask mode": "Inpaint not masked" if is_inverted else "Inpaint masked"}
    if spec.mask_mode is MaskMode.ALPHA:
        pairs["Mask channel"] = "alpha"
    if spec.mask_blur is not None:
        pairs["Mask blur"] = str(spec.mask_blur)
    if spec.inpaint_fill is not None:
        pairs["Masked content"] = spec.inpaint_fill.replace("_", " ")
    if spec.inpaint_area is not InpaintArea.MASKED:
        return {**pairs, "Inpaint area": "Whole picture"}
    return {**pairs, "Inpaint area": "Only masked", "Masked area padding": str(spec.inpaint_padding)}


def _controls(spec: JobSpec, models: _Models) -> _Pairs:
    if not spec.controls:
        return {}
    how = None if spec.image_fit is None else _RESIZE_MODES[spec.image_fit]
    return {
        f"ControlNet {number}": _control(control, how, models) for number, control in enumerate(spec.controls)
    }


def _control(use: Control, resize_mode: str | None, models: _Models) -> str:
    digits, name = _hash(models.get(use.control_model)), _name(use.control_model, models)
    pairs = {
        "Module": "none" if use.is_preprocessed else str(use.control_type),
        "Model": f"{name} [{digits}]" if digits else name,
        "Weight": _number(use.scale),
        **({} if resize_mode is None else {"Resize Mode": resize_mode}),
        "Guidance Start": _number(use.start),
        "Guidance End": _number(use.end),
    }
    return ", ".join(f"{name}: {value}" for name, value in pairs.items())


def _images_out(spec: JobSpec, models: _Models, facts: InfotextSource) -> _Pairs:
    pairs: _Pairs = {}
    if facts.decoded_tile_px is not None:
        pairs["VAE tiling"] = str(facts.decoded_tile_px)
    if spec.remove_background:
        pairs["Background removed"] = ", ".join(
            _name(model_id, models) for model_id in spec.remove_background
        )
        if spec.background_color is not None:
            pairs["Background color"] = spec.background_color
    return pairs


def _lora_tags(spec: JobSpec, models: _Models) -> list[str]:
    names = [(_name(use.model_id, models).translate(MARKS_OF_TAGS), use.weight) for use in spec.loras]
    return [f"<lora:{name}:{_number(weight)}>" for name, weight in names]


def _hashes(model_ids: tuple[ModelId, ...] | list[ModelId], models: _Models) -> str:
    """`name: hash` of each model whose hash is known."""
    digits = {_name(model_id, models): _hash(models.get(model_id)) for model_id in model_ids}
    return ", ".join(f"{name.translate(MARKS_OF_TAGS)}: {found}" for name, found in digits.items() if found)


def _name(model_id: ModelId, models: _Models) -> str:
    return models[model_id].name if model_id in models else model_id


def _hash(source: ModelSource | None) -> str | None:
    return None if source is None or source.sha256 is None else source.sha256[:_HASH_DIGITS]


def _number(value: float) -> str:
    """The shortest text that means this very number, so that it can be read again."""
    return repr(value).removesuffix(".0")


def _quoted(value: str) -> str:
    """A value that contains a separator is written as a JSON string."""
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in _SEPARATORS) else value
