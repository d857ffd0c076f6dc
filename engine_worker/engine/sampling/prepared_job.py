"""A job that is ready to be stepped, and the state that its images share."""

from dataclasses import dataclass

import torch

from engine_worker.engine.adapters.lora_manager import AdapterSet
from engine_worker.engine.images.infotext import Digests
from engine_worker.engine.networks.components import Components, Vae
from engine_worker.engine.networks.conditioning import Conditioning
from engine_worker.engine.networks.controlnet import Control
from engine_worker.engine.runtime.async_copy import copy_async
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.sampling.batch_scheduler import Admission, Group, Sample
from engine_worker.engine.sampling.brownian import BrownianScheduler, walk_on_the_cpu
from engine_worker.engine.sampling.init_image import InitImage
from engine_worker.engine.sampling.initial_latents import prepare_latents
from engine_worker.engine.sampling.inpaint_mask import InpaintMask
from engine_worker.engine.sampling.schedulers import make_schedule
from engine_worker.engine.sampling.trajectory import Trajectory
from kernel.protocol.specs import JobOrder


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """What a job became of when it was let in. Nothing in here changes while its images are made."""

    job: OpenJob
    conditioning: Conditioning
    adapters: AdapterSet
    """Those that the UNet works with."""
    vae: Vae
    init_image: InitImage | None
    controls: tuple[Control, ...]
    digests: Digests

    @property
    def order(self) -> JobOrder:
        return self.job.order

    def places(self, admission: Admission) -> tuple[Sample, ...]:
        """The places that its images take in the line."""
        spec = self.order.spec
        group = Group(
            width_px=spec.width_px,
            height_px=spec.height_px,
            adapters=self.adapters,
            control_models=spec.control_models,
            # ControlNets take no mask, so prompts that differ in length cannot share a call with them.
            tokens=self.conditioning.tokens if spec.control_models else None,
        )
        rows = self.conditioning.rows
        return tuple(Sample(admission, index, group, rows) for index in range(len(self.order.pictures)))

    def start(self, parts: Components, index: int) -> Trajectory:
        """One of its images before its first step."""
        spec, seed = self.order.spec, self.order.pictures[index].seed
        generator = torch.Generator("cpu").manual_seed(seed)
        strength = None if self.init_image is None else self.init_image.strength
        schedule = make_schedule(spec, parts.scheduler_config, seed, strength)
        shape = (
            self.vae.latent_channels,
            spec.height_px // self.vae.pixels_per_latent,
            spec.width_px // self.vae.pixels_per_latent,
        )
        if isinstance(schedule.scheduler, BrownianScheduler):
            walk_on_the_cpu(schedule.scheduler, (1, *shape), parts.device)
        found = prepare_latents(schedule, generator, shape, self.init_image)
        further, inpaint_mask = found.further_channels, found.inpaint_mask
        return Trajectory(
            conditioning=self.conditioning,
            guidance_scale=spec.guidance_scale,
            schedule=schedule,
            generator=generator,
            latents=copy_async(found.latents, parts.device),
            further_channels=None if further is None else copy_async(further, parts.device),
            inpaint_mask=None if inpaint_mask is None else _on(inpaint_mask, parts.device),
            controls=self.controls,
        )


def _on(inpaint_mask: InpaintMask, device: torch.device) -> InpaintMask:
    return InpaintMask(inpaint_mask.original, inpaint_mask.noise, copy_async(inpaint_mask.mask, device))
