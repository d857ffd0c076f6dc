"""Reads the index of a diffusers folder, in which only known classes are accepted."""

from typing import Final

from engine_worker.formats.inspection_result import stranger
from engine_worker.formats.model_folder import ModelFolder
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable

INDEX_FILE: Final = "model_index.json"

_BASES: Final = {
    "StableDiffusionPipeline": ModelBase.SD,
    "StableDiffusionInpaintPipeline": ModelBase.SD,
    "StableDiffusionXLPipeline": ModelBase.SDXL,
    "StableDiffusionXLInpaintPipeline": ModelBase.SDXL,
}
_LIBRARIES: Final = ("diffusers", "transformers", "stable_diffusion")
_CLASSES: Final = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "safety_checker": ("StableDiffusionSafetyChecker",),
    "feature_extractor": ("CLIPImageProcessor", "CLIPFeatureExtractor"),
    "image_encoder": ("CLIPVisionModelWithProjection",),
}
_SD_PARTS: Final = frozenset({"unet", "vae", "text_encoder", "tokenizer", "scheduler"})
_NEEDED: Final = {
    ModelBase.SD: _SD_PARTS,
    ModelBase.SDXL: _SD_PARTS | {"text_encoder_2", "tokenizer_2"},
}


def read_index(folder: ModelFolder) -> ModelBase:
    """The base of the checkpoint in this folder.

    Raises: ModelUnreadable, if a component is missing, or a class is not supported.
    """
    index = folder.read_json(dict[str, object], INDEX_FILE)
    base = _BASES.get(str(index.get("_class_name")))
    if base is None:
        raise stranger(f"a folder for {index.get('_class_name')!r:.80}")
    present = {name for name, value in index.items() if _is_part(name, value)}
    missing = sorted(_NEEDED[base] - present)
    if missing:
        raise ModelUnreadable(
            f"{folder.path.name} is not a complete checkpoint: it lacks {', '.join(missing)}"
        )
    return base


def _is_part(name: str, value: object) -> bool:
    """True for a component that exists, False for an option or an omitted component."""
    if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
        return False
    if len(value) != 2 or value[0] not in _LIBRARIES or not _is_known(name, value[1]):
        raise ModelUnreadable(f"{INDEX_FILE} names {value!r:.80} as its {name:.40}, which is not supported")
    return True


def _is_known(name: str, kind: object) -> bool:
    if not isinstance(kind, str):
        return False
    if name == "scheduler":
        return kind.isidentifier() and kind.endswith("Scheduler")
    return kind in _CLASSES.get(name, ())
