"""Reads InvokeAI's metadata: `invokeai_metadata`, a JSON object with a value for each setting."""

from collections.abc import Mapping
from typing import Final

from api.http.infotext.parsed_infotext import NEEDS_IMAGE, Mention, ParsedInfotext, weight_of
from kernel.protocol.enums import ModelType, PromptTechnique

INVOKEAI: Final = "invokeai"
_FIELDS: Final[Mapping[str, str]] = {
    "positive_prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "width": "width",
    "height": "height",
    "seed": "seed",
    "steps": "steps",
    "cfg_scale": "cfg",
    "cfg_rescale_multiplier": "guidance_rescale",
}
_WITH_IMAGE: Final[Mapping[str, str]] = {
    "strength": "reference_image_blob",
    "init_image": "reference_image_blob",
    "controlnets": "pose_image_blob",
    "t2iAdapters": "pose_image_blob",
    "ipAdapters": "reference_image_blob",
}
_READ: Final = frozenset({"model", "loras", "vae", "scheduler", "clip_skip"})
_IGNORED: Final = frozenset({"generation_mode", "app_version", "rand_device", "positive_style_prompt",
                             "negative_style_prompt", "seamless_x", "seamless_y"})  # fmt: skip
MAX_LORAS: Final = 200


def is_invokeai(content: object) -> bool:
    """True for an object with InvokeAI's names."""
    return (
        isinstance(content, dict)
        and "positive_prompt" in content
        and not isinstance(content["positive_prompt"], dict)
    )


def read_invokeai(content: Mapping[str, object]) -> ParsedInfotext:
    """What the metadata says."""
    found = ParsedInfotext(INVOKEAI)
    found.job |= {"loras": (), "long_prompt_technique": PromptTechnique.COMPEL}
    for name, value in content.items():
        if value is None or value in ([], {}, "") or name in _IGNORED or name in _READ:
            continue
        if name in _FIELDS:
            found.take(_FIELDS[name], name, value)
        elif name in _WITH_IMAGE:
            found.leave(name, value, NEEDS_IMAGE.format(field=_WITH_IMAGE[name]))
        else:
            found.leave(name, value)
    scheduler = content.get("scheduler")
    if isinstance(scheduler, str):
        found.take_scheduler("scheduler", scheduler)
    skipped = content.get("clip_skip")
    if isinstance(skipped, int) and skipped:
        found.take("clip_skip", "clip_skip", skipped + 1)  # the number of layers that are left out
    _take_models(found, content)
    return found


def _take_models(found: ParsedInfotext, content: Mapping[str, object]) -> None:
    for name, field, kind in (
        ("model", "checkpoint", ModelType.CHECKPOINT),
        ("vae", "vae", ModelType.VAE),
    ):
        if content.get(name) is not None:
            found.mention(Mention(field, kind, name, _name_of(content[name])))
    loras = content.get("loras")
    for lora in (loras if isinstance(loras, list) else [])[:MAX_LORAS]:
        if isinstance(lora, dict):
            name = _name_of(lora.get("model") or lora.get("lora"))
            found.mention(Mention("loras", ModelType.LORA, "loras", name, "", weight_of(lora.get("weight"))))


def _name_of(model: object) -> str:
    """The name of a model, which older versions call `model_name` or give alone."""
    if isinstance(model, dict):
        return str(model.get("name") or model.get("model_name") or "")
    return str(model)
