"""The stock diffusers pipelines as an oracle, and our sampler alone, for comparison."""

from collections.abc import Mapping
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from small_engine import order
from torch import Tensor

from engine_worker.engine.parts import Parts
from engine_worker.engine.picture_file import Pixels
from engine_worker.engine.prompts.conditioning import Conditioner
from engine_worker.engine.sampler import advance, predict, start
from engine_worker.engine.schedulers import make_schedule
from kernel.protocol.specs import JobSpec
from kernel.protocol.vocabulary import ModelBase, Scheduler

# Written out here once more, from diffusers' documentation, so that the engine's table is checked and not
# compared with itself.
CLASSES: Mapping[Scheduler, tuple[str, Mapping[str, object]]] = {
    Scheduler.EULER: ("EulerDiscreteScheduler", {}),
    Scheduler.EULER_A: ("EulerAncestralDiscreteScheduler", {}),
    Scheduler.HEUN: ("HeunDiscreteScheduler", {}),
    Scheduler.DPM2: ("KDPM2DiscreteScheduler", {}),
    Scheduler.DPM2_A: ("KDPM2AncestralDiscreteScheduler", {}),
    Scheduler.DPMPP_2M: ("DPMSolverMultistepScheduler", {}),
    Scheduler.DPMPP_2M_KARRAS: ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    Scheduler.DPMPP_2M_SDE: ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    Scheduler.DPMPP_2M_SDE_KARRAS: (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
    Scheduler.DEIS: ("DEISMultistepScheduler", {}),
    Scheduler.UNIPC: ("UniPCMultistepScheduler", {}),
    Scheduler.PNDM: ("PNDMScheduler", {}),
    Scheduler.DDIM: ("DDIMScheduler", {}),
    Scheduler.DDPM: ("DDPMScheduler", {}),
    Scheduler.LCM: ("LCMScheduler", {}),
}


class Stock:
    """A stock pipeline, loaded from a diffusers folder in float32 on the CPU."""

    def __init__(self, folder: Path, base: ModelBase) -> None:
        kind = (
            diffusers.StableDiffusionPipeline if base is ModelBase.SD else diffusers.StableDiffusionXLPipeline
        )
        diffusers_logging.disable_progress_bar()
        self.pipeline = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self.pipeline.set_progress_bar_config(disable=True)
        self._config_folder = folder / "scheduler"

    def make(self, spec: JobSpec) -> tuple[Tensor, Pixels]:
        """Make a job's first picture. Returns: its latents, and its pixels."""
        name, options = CLASSES[spec.scheduler]
        kind = getattr(diffusers, name)
        self.pipeline.scheduler = kind.from_pretrained(
            self._config_folder, **options, **spec.scheduler_config
        )
        latents = self._run(spec, "latent")
        return latents, self._decoded(latents)

    def encode(
        self, prompt: str, negative_prompt: str, clip_skip: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The embeds and the pooled embeds of SDXL, the negative prompt's first."""
        embeds, negative, *pooled = self.pipeline.encode_prompt(
            prompt=prompt,
            device=torch.device("cpu"),
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt=negative_prompt,
            clip_skip=clip_skip,
        )
        return torch.cat([negative, embeds]), torch.cat(pooled[::-1]) if pooled else None

    def _run(self, spec: JobSpec, output_type: str) -> Tensor:
        output = self.pipeline(
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt or None,
            num_inference_steps=spec.steps,
            guidance_scale=spec.guidance_scale,
            width=spec.width_px,
            height=spec.height_px,
            generator=torch.Generator("cpu").manual_seed(spec.seed),
            output_type=output_type,
        )
        latents: Tensor = output.images
        return latents

    @torch.no_grad()
    def _decoded(self, latents: Tensor) -> Pixels:
        vae = self.pipeline.vae
        image = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        picture = self.pipeline.image_processor.postprocess(image, output_type="pil")[0]
        return np.array(picture)


@torch.inference_mode()
def make_alone(parts: Parts, spec: JobSpec) -> Tensor:
    """The latents of a job's first picture, made by our sampler with nobody beside it."""
    schedule = make_schedule(spec.scheduler, spec.steps, parts.scheduler_config, spec.scheduler_config)
    shape = (parts.vae.latent_channels, spec.height_px // 8, spec.width_px // 8)
    trajectory = start(
        Conditioner(parts).condition(order("alone", spec)).conditioning,
        spec.guidance_scale,
        schedule,
        spec.seed,
        shape,
    )
    while not trajectory.is_done:
        (noise,) = predict(parts.denoiser, [trajectory], parts.dtype)
        trajectory = advance(trajectory, noise)
    return trajectory.latents
