"""Turns a request of A1111's clients into the fields of a job of this server. It decides nothing.

What would make another image than was asked for is refused; what only has no effect is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from api.http.compat.a1111.controlnet import Units, unit_fields
from api.http.compat.a1111.models import Chosen, ModelLists
from api.http.compat.a1111.requests import Generation, ImageToImage, TextToImage
from api.http.compat.a1111.samplers import scheduler_in
from api.http.compat.a1111.sent_images import SentImages
from api.http.contract.enum_choices import find_choice, find_levels
from api.http.contract.errors import InitImageNotFound
from api.http.contract.json_text import cut
from kernel.protocol.enums import (
    ImageFit,
    InpaintArea,
    InpaintFill,
    InputKind,
    MaskMode,
    ModelBase,
    PromptTechnique,
    Scheduler,
)
from kernel.protocol.errors import NotSupported, of_field, wrong_field
from kernel.protocol.schedulers import KINDS, TAKES_ETA
from kernel.protocol.values import PIXELS_PER_LATENT

Fields = dict[str, object]
Files = dict[InputKind, bytes]

_FITS: Final = (ImageFit.STRETCH, ImageFit.CROP, ImageFit.PAD)
"""By `resize_mode`."""
_FILLS: Final = (
    InpaintFill.FILL,
    InpaintFill.ORIGINAL,
    InpaintFill.LATENT_NOISE,
    InpaintFill.LATENT_NOTHING,
)
"""By `inpainting_fill`."""
_PLAIN_ETA: Final = 1.0
"""A1111's default for samplers that add noise."""
_ANCESTRAL: Final = frozenset({"Euler a", "DPM2 a"})

NAMES: Final[Mapping[str, str]] = {
    "cfg": "cfg_scale",
    "checkpoint": "override_settings.sd_model_checkpoint",
    "engine": "override_settings.sd_model_checkpoint",
    "engine_id": "override_settings.sd_model_checkpoint",
    "vae": "override_settings.sd_vae",
    "scheduler": "sampler_name",
    "count": "n_iter",
    "strength": "denoising_strength",
    "image_fit": "resize_mode",
    "mask_mode": "inpainting_mask_invert",
    "inpaint_area": "inpaint_full_res",
    "inpaint_padding": "inpaint_full_res_padding",
    "inpaint_fill": "inpainting_fill",
    "reference_image_blob": "init_images",
    "mask_image_blob": "mask",
    "pose_image_blob": "alwayson_scripts.ControlNet.args.image",
    "type_pose": "alwayson_scripts.ControlNet.args.module",
    "control_models": "alwayson_scripts.ControlNet.args.model",
    "control_scale": "alwayson_scripts.ControlNet.args.weight",
    "control_start": "alwayson_scripts.ControlNet.args.guidance_start",
    "control_end": "alwayson_scripts.ControlNet.args.guidance_end",
    "image_file_type": "override_settings.samples_format",
}
"""A1111's names of the fields that a job is refused for."""


def name_of(field: str) -> str:
    """A1111's name of a field of a job."""
    name, bracket, index = field.partition("[")
    return f"{NAMES.get(name, name)}{bracket}{index}"


class Translation:
    """Makes fields of requests."""

    def __init__(self, models: ModelLists, images: SentImages) -> None:
        self._models = models
        self._images = images

    def fields(
        self, asked: TextToImage | ImageToImage, chosen: Chosen | None, units: Units, warnings: list[str]
    ) -> tuple[Fields, Files]:
        """The fields and files of the job of a request; `units` and `warnings` are added to.

        Raises: InvalidField, NotSupported, ModelMissing; SamplerNotFound, InitImageNotFound.
        """
        base = None if chosen is None else chosen.checkpoint.model_base
        one = _OneTranslation(self._models, self._images, base, units, warnings)
        return one.of_text(asked) if isinstance(asked, TextToImage) else one.of_image(asked)


@dataclass(frozen=True, slots=True)
class _OneTranslation:
    """The translation of one request."""

    models: ModelLists
    images: SentImages
    base: ModelBase | None
    units: Units
    warnings: list[str]

    def of_text(self, asked: TextToImage) -> tuple[Fields, Files]:
        if asked.enable_hr:
            raise _unsupported("enable_hr", "there is no second pass at a higher resolution yet")
        if asked.firstpass_image is not None:
            raise _unsupported("firstpass_image", "there is no second pass at a higher resolution yet")
        return self._common(asked, None), {}

    def of_image(self, asked: ImageToImage) -> tuple[Fields, Files]:
        if not asked.init_images:
            raise InitImageNotFound("Init image not found: send it as init_images")
        if len(asked.init_images) > 1:
            raise _unsupported("init_images", "a request takes one image: send one request for each")
        files: Files = {}
        found = self._common(asked, asked.init_images[0])
        found |= {
            "reference_image_blob": asked.init_images[0],
            "strength": 0.75 if asked.denoising_strength is None else asked.denoising_strength,
        }
        self._refuse_latents(asked)
        if asked.mask:
            files[InputKind.MASK] = self.images.mask("mask", asked.mask)
            found |= self._mask(asked)
        fit = _chosen_of("resize_mode", asked.resize_mode, _FITS)
        if found.pop("image_fit", fit) is not fit:
            self.warnings.append(
                "resize_mode of the ControlNet units has no effect: that of the request counts"
            )
        if not (asked.mask and asked.inpaint_full_res):
            found["image_fit"] = fit
        return found, files

    def _common(self, asked: Generation, init_image: str | None) -> Fields:
        _refuse_what_there_is_not(asked)
        self._tell_what_has_no_effect(asked)
        scheduler = scheduler_in(asked.sampler_name or asked.sampler_index, asked.scheduler, self.warnings)
        found: Fields = {
            "prompt": asked.prompt,
            "negative_prompt": asked.negative_prompt,
            "long_prompt_technique": PromptTechnique.SD_EMBED,
            "lora_tags": not asked.disable_extra_networks,
            "seed": asked.seed,
            "count": asked.batch_size * asked.n_iter,
            "steps": asked.steps,
            "cfg": asked.cfg_scale,
            "width": self._side("width", asked.width),
            "height": self._side("height", asked.height),
            "scheduler": scheduler,
            "previews": True,
            **self._eta(asked, scheduler),
            **({} if asked.clip_skip is None else {"clip_skip": max(1, asked.clip_skip)}),
        }
        if embeddings := self._embeddings(asked):
            found["embeddings"] = embeddings
        found |= self._scripts(asked, init_image)
        return found

    def _embeddings(self, asked: Generation) -> list[str]:
        return self.models.embeddings_in(f"{asked.prompt}\n{asked.negative_prompt}", self.base)

    def _side(self, name: str, side_px: int) -> int:
        """A1111 cuts it to whole latents, too."""
        whole = max(64, side_px - side_px % PIXELS_PER_LATENT)
        if whole != side_px:
            self.warnings.append(f"{name}: {side_px} is made {whole}, a multiple of {PIXELS_PER_LATENT}")
        return whole

    def _eta(self, asked: Generation, scheduler: str) -> Fields:
        """A1111 has an eta for samplers that cannot be set here: 1 is what they do anyway."""
        levels = find_levels(scheduler)
        word = find_choice(Scheduler, scheduler) if levels is None else levels[0]
        kind = KINDS[word or Scheduler.EULER]
        if asked.eta is None:
            return {}
        if kind.class_name in TAKES_ETA:
            return {"eta": asked.eta}
        if asked.eta != _PLAIN_ETA and kind.label in _ANCESTRAL:
            self.warnings.append(f"eta has no effect on {kind.label}")
        return {}

    def _scripts(self, asked: Generation, init_image: str | None) -> Fields:
        found: Fields = {}
        for name, said in asked.alwayson_scripts.items():
            args = said.get("args") if isinstance(said, dict) else None
            given = args if isinstance(args, list) else []
            match name.lower():
                case "controlnet":
                    found |= unit_fields(given, init_image, self.models, self.units, self.warnings)
                case "adetailer":
                    if any(given):
                        self.warnings.append("ADetailer has no effect: this server repaints no details")
                case _ if any(one for one in given if one not in (None, False, "", "None", 0)):
                    raise wrong_field("alwayson_scripts", f"always on script {cut(name)} not found")
        return found

    def _mask(self, asked: ImageToImage) -> Fields:
        blur = asked.mask_blur
        if blur is None:
            blur = max(asked.mask_blur_x, asked.mask_blur_y)
            if asked.mask_blur_x != asked.mask_blur_y:
                self.warnings.append(f"mask_blur_x and mask_blur_y differ: both are {blur}")
        if not asked.mask_round:
            self.warnings.append("mask_round has no effect: masks are black and white")
        area: Fields = {"inpaint_area": InpaintArea.WHOLE}
        if asked.inpaint_full_res:
            area = {"inpaint_area": InpaintArea.MASKED, "inpaint_padding": asked.inpaint_full_res_padding}
        return {
            "mask_mode": MaskMode.INVERTED if asked.inpainting_mask_invert else MaskMode.LUMINANCE,
            "mask_blur": blur,
            "inpaint_fill": _chosen_of("inpainting_fill", asked.inpainting_fill, _FILLS),
            **area,
        }

    def _refuse_latents(self, asked: ImageToImage) -> None:
        if asked.latent_mask is not None:
            raise _unsupported("latent_mask", "send the mask as mask")
        if asked.initial_noise_multiplier not in (None, 1.0):
            self.warnings.append("initial_noise_multiplier has no effect")

    def _tell_what_has_no_effect(self, asked: Generation) -> None:
        told: Mapping[str, bool] = {
            "restore_faces": asked.restore_faces,
            "styles": bool(asked.styles),
            "comments": bool(asked.comments),
            "s_min_uncond": asked.s_min_uncond != 0,
            "s_churn": asked.s_churn != 0,
            "s_tmin": asked.s_tmin != 0,
            "s_tmax": asked.s_tmax not in (None, 0, float("inf")),
            "s_noise": asked.s_noise != 1,
            "distilled_cfg_scale": asked.distilled_cfg_scale is not None,
        }
        self.warnings.extend(f"{name} has no effect" for name, is_said in told.items() if is_said)


def _refuse_what_there_is_not(asked: Generation) -> None:
    """Raises: NotSupported, for what would make another image; InvalidField, for a script."""
    if asked.script_name:
        raise wrong_field("script_name", f"Script '{cut(asked.script_name)}' not found")
    wants: Mapping[str, tuple[bool, str]] = {
        "tiling": (asked.tiling, "images cannot be made to tile"),
        "subseed_strength": (asked.subseed_strength != 0, "there are no variation seeds"),
        "seed_resize_from_w": (asked.seed_resize_from_w > 0, "noise is not resized"),
        "seed_resize_from_h": (asked.seed_resize_from_h > 0, "noise is not resized"),
        "refiner_checkpoint": (_has_refiner(asked), "a job has one checkpoint"),
        "infotext": (bool(asked.infotext), "send it to POST /v1/infotext, which makes a job of it"),
    }
    for name, (is_wanted, problem) in wants.items():
        if is_wanted:
            raise _unsupported(name, problem)


def _has_refiner(asked: Generation) -> bool:
    is_named = (asked.refiner_checkpoint or "None") != "None"
    return is_named and asked.refiner_switch_at not in (None, 0, 1)


def _unsupported(field: str, problem: str) -> NotSupported:
    return of_field(NotSupported, field, f"not supported: {problem}")


Choice = ImageFit | InpaintFill


def _chosen_of(field: str, number: int, choices: tuple[Choice, ...]) -> Choice:
    """Raises: InvalidField, if there is none with this number."""
    if not 0 <= number < len(choices):
        listed = ", ".join(f"{n} ({one.replace('_', ' ')})" for n, one in enumerate(choices))
        raise wrong_field(field, f"must be one of {listed}")
    return choices[number]
