"""The generation parameters of an image as text (infotext), in the format that Stable Diffusion tools share.

It is a prompt, a line `Negative prompt: ...`, and a line of `Name: value` pairs: those of A1111 under its
names and in its order, without those that it leaves out because they are its defaults; then our own. LoRAs
are tags in the prompt, `<lora:name:weight>`: those of the prompt where they are, the others behind it.
Source: A1111 1.10, as its files are; https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from kernel.protocol.enums import (
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    PromptTechnique,
    Scheduler,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE, Control, LoraUse, ModelSource
from kernel.protocol.prompts import MARKS_OF_TAGS, LoraTag, lora_tags
from kernel.protocol.schedulers import names_of_a1111
from kernel.protocol.sources import stem_of
from kernel.protocol.specs import JobOrder, JobSpec
from kernel.protocol.version import VERSION

_HASH_DIGITS: Final = 10
_EMBEDDING_DIGITS: Final = 12
# The names that Stable Diffusion tools use for fitting an input image.
_RESIZE_MODES: Final = {
    ImageFit.STRETCH: "Just Resize",
    ImageFit.CROP: "Crop and Resize",
    ImageFit.PAD: "Resize and Fill",
}
_HASH_NAMES: Final = {
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
    facts: InfotextSource = InfotextSource(),
) -> str:
    """Everything needed to make the image again, given the files that the hashes identify."""
    spec, models = order.spec, {source.model_id: source for source in order.models}
    prompt, others = _tagged_prompt(spec, models)
    lines = [" ".join([prompt, *_lora_tags(others, models)]).strip()]
    if spec.negative_prompt:
        lines.append(f"Negative prompt: {spec.negative_prompt}")
    pairs = {
        **_sampling(spec, seed),
        **_models_of(spec, checkpoint, models),
        **_reference(spec, facts),
        # The source of random numbers for the noise, in A1111's terms: never the GPU.
        "RNG": "CPU",
        **_mask(spec),
        **_controls(spec, models),
        **_hashes_of(spec, models),
        **_ours(spec, models, facts),
        "Version": f"automatic-spoon {VERSION}",
    }
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items()))
    return "\n".join([*lines, *_templates(spec)])


def _templates(spec: JobSpec) -> list[str]:
    """The templates of the prompts in lines of their own at the end, as Dynamic Prompts has them."""
    templates = {"Template": spec.prompt_template, "Negative Template": spec.negative_prompt_template}
    return [f"{name}: {' '.join(text.splitlines())}" for name, text in templates.items() if text is not None]


_Models = dict[ModelId, ModelSource]
_Pairs = dict[str, str]


def _sampling(spec: JobSpec, seed: int) -> _Pairs:
    sampler, schedule = names_of_a1111(spec.scheduler, spec.scheduler_config)
    return {
        "Steps": str(spec.steps),
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": _number(spec.guidance_scale),
        "Seed": str(seed),
        "Size": f"{spec.width_px}x{spec.height_px}",
    }


def _models_of(spec: JobSpec, checkpoint: ModelSource, models: _Models) -> _Pairs:
    pairs = _hashed("Model", checkpoint.name, checkpoint)
    if spec.vae != OWN_VAE:
        pairs |= _hashed("VAE", _name(spec.vae, models), models.get(spec.vae))
    return pairs


def _hashed(kind: str, name: str, source: ModelSource | None) -> _Pairs:
    digits = _hash(source)
    return ({f"{kind} hash": digits} if digits else {}) | {kind: name}


def _reference(spec: JobSpec, facts: InfotextSource) -> _Pairs:
    pairs: _Pairs = {}
    if InputKind.REFERENCE in spec.inputs:
        assert spec.strength is not None
        pairs["Denoising strength"] = _number(spec.strength)
    if spec.clip_skip not in (None, 1):
        pairs["Clip skip"] = str(spec.clip_skip)
    if InputKind.REFERENCE in facts.digests:
        pairs["Init image hash"] = facts.digests[InputKind.REFERENCE][:_HASH_DIGITS]
    return pairs


def _mask(spec: JobSpec) -> _Pairs:
    """Without what A1111 takes for granted: white is painted, in the whole image, on the original."""
    pairs: _Pairs = {}
    if not spec.has_mask:
        return pairs
    if spec.mask_mode is MaskMode.INVERTED:
        pairs["Mask mode"] = "Inpaint not masked"
    if spec.mask_blur:
        pairs["Mask blur"] = str(spec.mask_blur)
    if spec.inpaint_area is InpaintArea.MASKED:
        pairs |= {"Inpaint area": "Only masked", "Masked area padding": str(spec.inpaint_padding)}
    if spec.inpaint_fill not in (None, InpaintFill.ORIGINAL):
        pairs["Masked content"] = str(spec.inpaint_fill).replace("_", " ")
    return pairs


def _hashes_of(spec: JobSpec, models: _Models) -> _Pairs:
    loras = _hashes([use.model_id for use in spec.loras], models, _HASH_DIGITS)
    embeddings = _hashes(spec.embeddings, models, _EMBEDDING_DIGITS)
    return ({"Lora hashes": loras} if loras else {}) | ({"TI hashes": embeddings} if embeddings else {})


def _ours(spec: JobSpec, models: _Models, facts: InfotextSource) -> _Pairs:
    """What A1111 has no names for."""
    pairs: _Pairs = {}
    if spec.eta is not None:
        pairs["Eta DDIM" if spec.scheduler is Scheduler.DDIM else "Eta"] = _number(spec.eta)
    if spec.guidance_rescale is not None:
        pairs["CFG rescale"] = _number(spec.guidance_rescale)
    if spec.long_prompt_technique is not PromptTechnique.SD_EMBED:  # that is how A1111 reads prompts
        pairs["Prompt technique"] = spec.long_prompt_technique
    if not spec.lora_tags and lora_tags(spec.prompt):
        pairs["Lora tags"] = "text"
    if InputKind.REFERENCE in spec.inputs and spec.image_fit is not None:
        pairs["Resize mode"] = _RESIZE_MODES[spec.image_fit]
    if spec.has_mask and spec.mask_mode is MaskMode.ALPHA:
        pairs["Mask channel"] = "alpha"
    if facts.encoded_tile_px is not None:
        pairs["VAE encoder tiling"] = str(facts.encoded_tile_px)
    found = facts.digests
    pairs |= {name: found[kind][:_HASH_DIGITS] for kind, name in _HASH_NAMES.items() if kind in found}
    pairs |= _images_out(spec, models, facts)
    return pairs | {f"Scheduler {name}": str(value) for name, value in sorted(spec.scheduler_config.items())}


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


def _tagged_prompt(spec: JobSpec, models: _Models) -> tuple[str, list[LoraUse]]:
    """The prompt, with tags of the LoRAs' own names, and the LoRAs that it has no tag for.

    A tag by the name of a file that lies elsewhere now is left out, for its LoRA is among the others.
    """
    prompt, others = spec.prompt, list(spec.loras)
    for tag in lora_tags(prompt) if spec.lora_tags else ():
        use = next((use for use in others if _is_named(tag, use.model_id, models)), None)
        if use is None:
            prompt = prompt.replace(tag.text, "")
            continue
        others.remove(use)
        if _plain(tag.name) != _plain(_name(use.model_id, models)):
            prompt = prompt.replace(tag.text, _lora_tags([use], models)[0])
    return prompt, others


def _is_named(tag: LoraTag, model_id: ModelId, models: _Models) -> bool:
    """True if the tag was taken for this LoRA (`kernel.core.state.model_refs`): by its id, name or file."""
    uri = models[model_id].uri if model_id in models else ""
    names = (_name(model_id, models), stem_of(unquote(uri.rpartition("/")[2])))
    return tag.name == model_id or _plain(tag.name) in map(_plain, names)


def _plain(name: str) -> str:
    return name.translate(MARKS_OF_TAGS).casefold()


def _lora_tags(uses: Sequence[LoraUse], models: _Models) -> list[str]:
    names = [(_name(use.model_id, models).translate(MARKS_OF_TAGS), use.weight) for use in uses]
    return [f"<lora:{name}:{_number(weight)}>" for name, weight in names]


def _hashes(model_ids: Sequence[ModelId], models: _Models, count: int) -> str:
    """`name: hash` of each model whose hash is known, with so many digits."""
    digits = {_name(model_id, models): _hash(models.get(model_id), count) for model_id in model_ids}
    return ", ".join(f"{name.translate(MARKS_OF_TAGS)}: {found}" for name, found in digits.items() if found)


def _name(model_id: ModelId, models: _Models) -> str:
    return models[model_id].name if model_id in models else model_id


def _hash(source: ModelSource | None, count: int = _HASH_DIGITS) -> str | None:
    return None if source is None or source.sha256 is None else source.sha256[:count]


def _number(value: float) -> str:
    """The shortest text that means this very number, so that it can be read again."""
    return repr(value).removesuffix(".0")


def _quoted(value: str) -> str:
    """A value that contains a separator is written as a JSON string."""
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in _SEPARATORS) else value
