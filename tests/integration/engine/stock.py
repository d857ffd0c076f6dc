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
from engine_worker.engine.port import NO_INPUTS
from engine_worker.engine.preparing import Preparer
from engine_worker.engine.sampler import advance, predict
from engine_worker.engine.workshop import bare_workshop
from kernel.protocol.specs import JobSpec
from kernel.protocol.vocabulary import ModelBase, Scheduler

# Written out here once more, from diffusers' documentation, so that the engine's table is checked and not
# compared with itself.
_MULTISTEP = "DPMSolverMultistepScheduler"
_SDE = {"algorithm_type": "sde-dpmsolver++"}
_SDE_3 = {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}
_KARRAS = {"use_karras_sigmas": True}
_EXPONENTIAL = {"use_exponential_sigmas": True}
_BETA = {"use_beta_sigmas": True}

CLASSES: Mapping[Scheduler, tuple[str, Mapping[str, object]]] = {
    Scheduler.EULER: ("EulerDiscreteScheduler", {}),
    Scheduler.EULER_KARRAS: ("EulerDiscreteScheduler", _KARRAS),
    Scheduler.EULER_BETA: ("EulerDiscreteScheduler", _BETA),
    Scheduler.EULER_A: ("EulerAncestralDiscreteScheduler", {}),
    Scheduler.HEUN: ("HeunDiscreteScheduler", {}),
    Scheduler.HEUN_KARRAS: ("HeunDiscreteScheduler", _KARRAS),
    Scheduler.DPM2: ("KDPM2DiscreteScheduler", {}),
    Scheduler.DPM2_KARRAS: ("KDPM2DiscreteScheduler", _KARRAS),
    Scheduler.DPM2_A: ("KDPM2AncestralDiscreteScheduler", {}),
    Scheduler.DPM2_A_KARRAS: ("KDPM2AncestralDiscreteScheduler", _KARRAS),
    Scheduler.LMS: ("LMSDiscreteScheduler", {}),
    Scheduler.LMS_KARRAS: ("LMSDiscreteScheduler", _KARRAS),
    Scheduler.DPMPP_2S: ("DPMSolverSinglestepScheduler", {}),
    Scheduler.DPMPP_2S_KARRAS: ("DPMSolverSinglestepScheduler", _KARRAS),
    Scheduler.DPMPP_2M: (_MULTISTEP, {}),
    Scheduler.DPMPP_2M_KARRAS: (_MULTISTEP, _KARRAS),
    Scheduler.DPMPP_2M_EXPONENTIAL: (_MULTISTEP, _EXPONENTIAL),
    Scheduler.DPMPP_2M_BETA: (_MULTISTEP, _BETA),
    Scheduler.DPMPP_SDE: ("DPMSolverSDEScheduler", {}),
    Scheduler.DPMPP_SDE_KARRAS: ("DPMSolverSDEScheduler", _KARRAS),
    Scheduler.DPMPP_2M_SDE: (_MULTISTEP, _SDE),
    Scheduler.DPMPP_2M_SDE_KARRAS: (_MULTISTEP, {**_SDE, **_KARRAS}),
    Scheduler.DPMPP_2M_SDE_EXPONENTIAL: (_MULTISTEP, {**_SDE, **_EXPONENTIAL}),
    Scheduler.DPMPP_3M_SDE: (_MULTISTEP, _SDE_3),
    Scheduler.DPMPP_3M_SDE_KARRAS: (_MULTISTEP, {**_SDE_3, **_KARRAS}),
    Scheduler.DPMPP_3M_SDE_EXPONENTIAL: (_MULTISTEP, {**_SDE_3, **_EXPONENTIAL}),
    Scheduler.DEIS: ("DEISMultistepScheduler", {}),
    Scheduler.UNIPC: ("UniPCMultistepScheduler", {}),
    Scheduler.UNIPC_KARRAS: ("UniPCMultistepScheduler", _KARRAS),
    Scheduler.PNDM: ("PNDMScheduler", {}),
    Scheduler.DDIM: ("DDIMScheduler", {}),
    Scheduler.DDPM: ("DDPMScheduler", {}),
    Scheduler.LCM: ("LCMScheduler", {}),
    Scheduler.TCD: ("TCDScheduler", {}),
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
            self._config_folder, **options, **spec.scheduler_config, **_seeded(name, spec)
        )
        latents = self._run(spec, "latent")
        return latents, self._decoded(latents)

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


def _seeded(name: str, spec: JobSpec) -> Mapping[str, int]:
    """The one scheduler that takes no generator is seeded by an option."""
    return {"noise_sampler_seed": spec.seed} if name == "DPMSolverSDEScheduler" else {}


@torch.inference_mode()
def make_alone(parts: Parts, spec: JobSpec) -> Tensor:
    """The latents of a job's first picture, made by our sampler with nobody beside it."""
    prepared = Preparer(bare_workshop(parts), lambda outcome: None).prepare(order("alone", spec), NO_INPUTS)
    trajectory = prepared.start(parts, 0)
    while not trajectory.is_done:
        (noise,) = predict(parts.denoiser, [trajectory], parts.dtype)
        trajectory = advance(trajectory, noise)
    return trajectory.latents
