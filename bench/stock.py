"""The stock pipelines of diffusers, on the CPU in float32: the measure of exactness."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import diffusers
import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from torch import Tensor, nn

from engine_worker.engine.images.output_file import Pixels
from engine_worker.port import NO_INPUTS, Inputs
from kernel.protocol.enums import InputKind, ModelBase, Scheduler
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import JobSpec

_Row = tuple[str, Mapping[str, object]]

_MULTISTEP: Final = "DPMSolverMultistepScheduler"
_SDE: Final = "sde-dpmsolver++"

# Written out here once more, from diffusers' documentation, so that the engine's table is checked and not
# compared with itself.
_SPACED: Final[Mapping[str, _Row]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {}),
    "dpmpp_2m": (_MULTISTEP, {}),
    "dpmpp_sde": ("DPMSolverSDEScheduler", {}),
    "dpmpp_2m_sde": (_MULTISTEP, {"algorithm_type": _SDE}),
    "dpmpp_3m_sde": (_MULTISTEP, {"algorithm_type": _SDE, "solver_order": 3}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
CLASSES: Final[Mapping[Scheduler, _Row]] = {
    **{Scheduler(word): row for word, row in _SPACED.items()},
    **{
        Scheduler(f"{word}_{spacing}"): (name, {**options, f"use_{spacing}_sigmas": True})
        for word, (name, options) in _SPACED.items()
        for spacing in ("karras", "exponential", "beta")
    },
    Scheduler.EULER_A: ("EulerAncestralDiscreteScheduler", {}),
    Scheduler.PNDM: ("PNDMScheduler", {"skip_prk_steps": True}),
    Scheduler.DDIM: ("DDIMScheduler", {}),
    Scheduler.DDPM: ("DDPMScheduler", {}),
    Scheduler.LCM: ("LCMScheduler", {}),
    Scheduler.TCD: ("TCDScheduler", {}),
}
_FAMILY: Final = {ModelBase.SD: "StableDiffusion", ModelBase.SDXL: "StableDiffusionXL"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A job with its pictures and its ControlNets, in the order of its controls."""

    spec: JobSpec
    inputs: Inputs = field(default_factory=lambda: NO_INPUTS)
    nets: Sequence[nn.Module] = ()
    models: Sequence[ModelSource] = ()
    """The LoRAs that the spec uses."""


class Stock:
    """The stock pipelines on one diffusers folder."""

    def __init__(self, folder: Path, base: ModelBase, unet: nn.Module | None = None) -> None:
        """`unet` stands in for the folder's own."""
        diffusers_logging.disable_progress_bar()
        # It warns of what it sets right by itself, and of LoRAs that leave the text encoders alone.
        diffusers_logging.set_verbosity_error()
        kind = getattr(diffusers, f"{_FAMILY[base]}Pipeline")
        pipeline = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self.pipeline = pipeline
        self._components: dict[str, object] = dict(pipeline.components)
        self._config: Mapping[str, object] = pipeline.config
        if unet is not None:
            self._components["unet"] = unet
        self._is_inpainting = unet is not None
        self._base = base
        self._scheduler_folder = folder / "scheduler"
        self._vae = pipeline.vae

    def make(self, asked: Asked) -> tuple[Tensor, Pixels]:
        """Make a job's first picture. Returns: its latents, and its pixels."""
        pictures = self._pictures(asked)
        kind = "Inpaint" if "mask_image" in pictures else "Img2Img" if "image" in pictures else ""
        pipeline = self._pipeline(("ControlNet" if asked.nets else "") + kind, asked)
        with _wearing(self.pipeline, asked):
            latents = self._run(pipeline, asked, pictures)
        return latents, self.decoded(latents)

    def _run(
        self, pipeline: diffusers.DiffusionPipeline, asked: Asked, pictures: dict[str, object]
    ) -> Tensor:
        arguments = {
            **self._words(asked.spec),
            **pictures,
            **_controls(asked, has_picture="image" in pictures),
        }
        taken = inspect.signature(pipeline.__call__).parameters
        known = {name: value for name, value in arguments.items() if name in taken}
        latents: Tensor = pipeline(**known).images
        return latents

    def encode(
        self, prompt: str, negative_prompt: str | None, clip_skip: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The embeds and the pooled embeds of SDXL, the negative prompt's first. None: no negative prompt."""
        embeds, negative, *pooled = self.pipeline.encode_prompt(
            prompt=prompt,
            device=torch.device("cpu"),
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt=negative_prompt,
            clip_skip=clip_skip,
        )
        return torch.cat([negative, embeds]), torch.cat(pooled[::-1]) if pooled else None

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Pixels:
        """The pixels of latents, as the pipelines decode them."""
        image = self._vae.decode(latents / self._vae.config.scaling_factor, return_dict=False)[0]
        (picture,) = diffusers.image_processor.VaeImageProcessor().postprocess(image, output_type="pil")
        return np.array(picture)

    def _pipeline(self, kind: str, asked: Asked) -> diffusers.DiffusionPipeline:
        pipeline_class = getattr(diffusers, f"{_FAMILY[self._base]}{kind}Pipeline")
        options = {"requires_safety_checker": False, "add_watermarker": False}
        components = {**options, **self._config, **self._components, "scheduler": self._scheduler(asked.spec)}
        if asked.nets:
            components["controlnet"] = asked.nets[0] if len(asked.nets) == 1 else list(asked.nets)
        taken = inspect.signature(pipeline_class.__init__).parameters
        pipeline = pipeline_class(**{name: value for name, value in components.items() if name in taken})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _scheduler(self, spec: JobSpec) -> diffusers.SchedulerMixin:
        return stock_scheduler(spec, self._scheduler_folder)

    def _words(self, spec: JobSpec) -> dict[str, object]:
        return {
            "prompt": spec.prompt,
            "negative_prompt": spec.negative_prompt or None,
            "num_inference_steps": spec.steps,
            "guidance_scale": spec.guidance_scale,
            # Not all pipelines take these.
            **({} if spec.guidance_rescale is None else {"guidance_rescale": spec.guidance_rescale}),
            **({} if spec.eta is None else {"eta": spec.eta}),
            "width": spec.width_px,
            "height": spec.height_px,
            "generator": torch.Generator("cpu").manual_seed(spec.seed),
            "output_type": "latent",
        }

    def _pictures(self, asked: Asked) -> dict[str, object]:
        """For an inpainting UNet a white mask where the job has none: all is painted anew."""
        spec = asked.spec
        given = {kind: Image.open(BytesIO(data)) for kind, data in asked.inputs.items()}
        found: dict[str, object] = {"strength": spec.strength}
        if self._is_inpainting and InputKind.REFERENCE not in given:
            found = {"strength": 1.0, "image": Image.new("RGB", (spec.width_px, spec.height_px))}
        if self._is_inpainting:
            found["mask_image"] = Image.new("L", (spec.width_px, spec.height_px), 255)
        if InputKind.REFERENCE in given:
            found["image"] = given[InputKind.REFERENCE].convert("RGB")
        if InputKind.MASK in given:
            found["mask_image"] = given[InputKind.MASK].convert("L")
        return found


def stock_scheduler(spec: JobSpec, folder: Path) -> diffusers.SchedulerMixin:
    """The job's scheduler as diffusers makes it of a folder's configuration."""
    name, options = CLASSES[spec.scheduler]
    # The one scheduler that takes no generator is seeded by an option.
    seeded = {"noise_sampler_seed": spec.seed} if name == "DPMSolverSDEScheduler" else {}
    return getattr(diffusers, name).from_pretrained(folder, **{**seeded, **options, **spec.scheduler_config})


@contextmanager
def _wearing(pipeline: diffusers.DiffusionPipeline, asked: Asked) -> Iterator[None]:
    """With the job's LoRAs on the networks that all pipelines share."""
    if not asked.models:
        yield
        return
    for source in asked.models:
        pipeline.load_lora_weights(url2pathname(urlsplit(source.uri).path), adapter_name=source.name)
    weights = {use.model_id: use.weight for use in asked.spec.loras}
    pipeline.set_adapters(
        [source.name for source in asked.models], [weights[source.model_id] for source in asked.models]
    )
    try:
        yield
    finally:
        pipeline.unload_lora_weights()


def _controls(asked: Asked, *, has_picture: bool) -> dict[str, object]:
    """What a ControlNet pipeline is told. The map has another name where there is another picture."""
    if not asked.nets:
        return {}
    pose = Image.open(BytesIO(asked.inputs[InputKind.POSE])).convert("RGB")
    uses = asked.spec.controls
    values: dict[str, Sequence[object]] = {
        "control_image" if has_picture else "image": [pose for _ in uses],
        "controlnet_conditioning_scale": [use.scale for use in uses],
        "control_guidance_start": [use.start for use in uses],
        "control_guidance_end": [use.end for use in uses],
    }
    if len(uses) == 1:
        return {name: value[0] for name, value in values.items()}
    return dict(values)
