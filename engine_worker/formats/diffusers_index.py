"""Reads the index of a diffusers folder, in which only known classes are accepted."""

from dataclasses import dataclass
from typing import Final

from engine_worker.formats.inspection_result import stranger
from engine_worker.formats.model_folder import ModelFolder
from engine_worker.formats.tensor_places import printable
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable

INDEX_FILE: Final = "model_index.json"

_BASES: Final = {
    "StableDiffusionPipeline": ModelBase.SD,
    "StableDiffusionImg2ImgPipeline": ModelBase.SD,
    "LatentConsistencyModelPipeline": ModelBase.SD,
    "LatentConsistencyModelImg2ImgPipeline": ModelBase.SD,
    "StableDiffusionInpaintPipeline": ModelBase.SD,
    "StableDiffusionXLPipeline": ModelBase.SDXL,
    "StableDiffusionXLImg2ImgPipeline": ModelBase.SDXL,
    "StableDiffusionXLInpaintPipeline": ModelBase.SDXL,
}
_STRANGERS: Final = {
    "StableDiffusionInstructPix2PixPipeline": "an InstructPix2Pix checkpoint",
    "StableDiffusionXLInstructPix2PixPipeline": "an InstructPix2Pix checkpoint",
    "StableDiffusionUpscalePipeline": "an upscaler",
    "StableDiffusionLatentUpscalePipeline": "an upscaler",
    "StableDiffusionDepth2ImgPipeline": "a Stable Diffusion 2 checkpoint for depth",
    "StableDiffusion3Pipeline": "a Stable Diffusion 3 checkpoint",
    "FluxPipeline": "a Flux checkpoint (FluxPipeline)",
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
_SD_PARTS: Final = frozenset({"unet", "text_encoder", "tokenizer", "scheduler"})
_NEEDED: Final = {
    ModelBase.SD: _SD_PARTS,
    ModelBase.SDXL: _SD_PARTS | {"text_encoder_2", "tokenizer_2"},
}


@dataclass(frozen=True, slots=True)
class FolderIndex:
    """What the index of a checkpoint's folder says."""

    base: ModelBase
    has_vae: bool
    scheduler: str
    """The name of its class."""
    zeroes_empty_negative: bool


def read_index(folder: ModelFolder) -> FolderIndex:
    """The index of the checkpoint in this folder.

    Raises: ModelUnreadable, if a component is missing, or a class is not supported.
    """
    if folder.file(INDEX_FILE) is None and (inside := _weights_in(folder)):
        raise ModelUnreadable(
            f"{folder.path.name} is no diffusers folder, as it lacks {INDEX_FILE}: register the file "
            f"in it, {inside}"
        )
    index = folder.read_json(dict[str, object], INDEX_FILE)
    base = _BASES.get(str(index.get("_class_name")))
    if base is None:
        name = index.get("_class_name")
        if isinstance(name, str) and name.startswith("StableDiffusion") and "ControlNet" in name:
            raise ModelUnreadable(
                "this is a checkpoint with a ControlNet: register the folder controlnet in it as one, "
                "and the checkpoint that it was made for by itself"
            )
        raise stranger(_STRANGERS.get(str(name), f"a folder for {name!r:.80}"))
    present = {name for name, value in index.items() if _is_part(name, value)}
    missing = sorted(_NEEDED[base] - present)
    if base is ModelBase.SDXL and missing == ["text_encoder", "tokenizer"]:
        raise stranger("an SDXL refiner")
    if missing:
        raise ModelUnreadable(
            f"{folder.path.name} is not a complete checkpoint: it lacks {', '.join(missing)}"
        )
    return FolderIndex(
        base=base,
        has_vae="vae" in present,
        scheduler=_class_of(index["scheduler"]),
        zeroes_empty_negative=bool(index.get("force_zeros_for_empty_prompt", base is ModelBase.SDXL)),
    )


def _weights_in(folder: ModelFolder) -> str:
    """The name of the only .safetensors file that lies in the folder itself; empty if there is none."""
    names = [name for name, _ in folder.model_files() if name.endswith(".safetensors") and "/" not in name]
    return printable(names[0]) if len(names) == 1 else ""


def _class_of(part: object) -> str:
    return str(part[1]) if isinstance(part, list) else ""


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
