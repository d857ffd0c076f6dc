"""Prepares a job for its first step: checks on arrival, conditioning, init image, then the first latents."""

from dataclasses import dataclass
from functools import partial

import torch

from engine_worker.engine.adapters.lora_manager import AdapterSet
from engine_worker.engine.detectors.maps import check_pose
from engine_worker.engine.images.infotext import Digests
from engine_worker.engine.images.inpainting import Overlay
from engine_worker.engine.networks.components import Components, Conditioning, Vae
from engine_worker.engine.networks.controlnet import Control
from engine_worker.engine.pipeline.preprocessing import JobInputs
from engine_worker.engine.pipeline.resources import EngineResources
from engine_worker.engine.prompts.prompt_encoder import EncodedPrompts
from engine_worker.engine.runtime.cuda_stream import copy_async
from engine_worker.engine.runtime.oom_retry import retry_on_oom
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.sampling.batch_scheduler import Admission, Group, Sample
from engine_worker.engine.sampling.brownian import BrownianScheduler, walk_on_the_cpu
from engine_worker.engine.sampling.initial_latents import (
    InitImage,
    encode_init_image,
    prepare_latents,
    strength_of,
)
from engine_worker.engine.sampling.scheduler_dry_run import dry_run
from engine_worker.engine.sampling.schedulers import make_schedule
from engine_worker.engine.sampling.trajectory import InpaintMask, Trajectory
from engine_worker.port import Emit, Inputs
from kernel.protocol.errors import JobRejected
from kernel.protocol.specs import JobOrder, JobSpec


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job that is ready to be stepped. It does not change while its images are made."""

    job: OpenJob
    conditionings: tuple[Conditioning, ...]
    """That of each UNet call, all of one shape; a single one, if it is always the same."""
    adapters: AdapterSet
    """The LoRAs that change the UNet."""
    vae: Vae
    init_image: InitImage | None
    controls: tuple[Control, ...]
    digests: Digests
    overlay: Overlay | None = None
    """What of the reference image stays as it is; None without a mask."""

    @property
    def order(self) -> JobOrder:
        return self.job.order

    def samples(self, admission: Admission) -> tuple[Sample, ...]:
        """Its images, as the batch scheduler queues them."""
        spec = self.order.spec
        group = Group(
            width_px=spec.width_px,
            height_px=spec.height_px,
            adapters=self.adapters,
            control_models=spec.control_models,
            # ControlNets take no mask, so prompts that differ in length cannot share a call with them.
            tokens=self.conditionings[0].tokens if spec.control_models else None,
        )
        rows = self.conditionings[0].rows
        return tuple(Sample(admission, index, group, rows) for index in range(len(self.order.pictures)))

    def start(self, parts: Components, index: int) -> Trajectory:
        """The state of one of its images before its first step."""
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
            conditionings=self.conditionings,
            # A distilled UNet has it as an input already.
            guidance_scale=1.0 if parts.is_distilled else spec.guidance_scale,
            guidance_rescale=spec.guidance_rescale or 0.0,
            schedule=schedule,
            generator=generator,
            latents=copy_async(found.latents, parts.device),
            further_channels=None if further is None else copy_async(further, parts.device),
            inpaint_mask=None if inpaint_mask is None else _on(inpaint_mask, parts.device),
            controls=self.controls,
        )


def _on(inpaint_mask: InpaintMask, device: torch.device) -> InpaintMask:
    return InpaintMask(inpaint_mask.original, inpaint_mask.noise, copy_async(inpaint_mask.mask, device))


class Preparer:
    """Makes prepared jobs from orders. All methods are for the stepping thread."""

    def __init__(self, resources: EngineResources, emit: Emit) -> None:
        self._resources = resources
        self._emit = emit

    def open(self, order: JobOrder, inputs: Inputs) -> OpenJob:
        """Validate a job before any work is done for it.

        Raises: JobRejected, if it is invalid.
        """
        parts, spec = self._resources.parts, order.spec
        check_order(order, parts.vae.pixels_per_latent)
        check_pose(order, inputs)
        strength = strength_of(parts, spec, inputs)
        if spec.scheduler_config:
            dry_run(spec, parts.scheduler_config, strength)
        # Made for its errors and its length; each image gets its own schedule when it starts.
        schedule = make_schedule(spec, parts.scheduler_config, spec.seed, strength)
        warnings = _steps_warning(spec, schedule.calls)
        return OpenJob(order, schedule.calls * len(order.pictures), warnings, self._emit)

    def prepare(self, job: OpenJob, job_inputs: JobInputs) -> PreparedJob:
        """Encode everything that the images of a job share; if there is not enough memory, once more after
        the caches were emptied.

        Raises: JobRejected, if the job cannot be made as described; torch.OutOfMemoryError, and what a
        damaged model raises.
        """
        resources = self._resources
        return retry_on_oom(
            partial(self._prepare, job, job_inputs), resources.parts.device, resources.adapters.clear
        )

    def _prepare(self, job: OpenJob, job_inputs: JobInputs) -> PreparedJob:
        parts, order, vae = self._resources.parts, job.order, job_inputs.vae
        init_image = encode_init_image(parts, vae, order.spec, job_inputs.init_image)
        encoded_prompts = self._prompted(order, job_inputs)
        said = job_inputs.init_image.warnings
        for warning in (*job_inputs.adapters.warnings, *encoded_prompts.warnings, *said):
            job.warn(warning)
        return PreparedJob(
            job=job,
            conditionings=encoded_prompts.by_call,
            adapters=job_inputs.adapters.for_unet,
            vae=vae,
            init_image=init_image,
            controls=job_inputs.controls,
            digests=job_inputs.digests,
            overlay=job_inputs.init_image.overlay,
        )

    def _prompted(self, order: JobOrder, job_inputs: JobInputs) -> EncodedPrompts:
        active = job_inputs.adapters.for_text
        self._resources.adapters.lora_manager.apply(active)
        return self._resources.prompt_encoder.condition(order, active, job_inputs.prompts)


def _steps_warning(spec: JobSpec, calls: int) -> tuple[str, ...]:
    if calls:
        return ()
    shortage = f"strength {spec.strength:g} leaves none of the {spec.steps} steps"
    return (f"{shortage}: the image is the unchanged reference image",)


def check_order(order: JobOrder, pixels_per_latent: int) -> None:
    """Raises: JobRejected, if the job has no images or steps, or its size is not a multiple of a latent's."""
    spec = order.spec
    if not order.pictures or spec.steps < 1:
        raise JobRejected("a job must have at least one image and one step")
    if min(spec.width_px, spec.height_px) < pixels_per_latent:
        raise JobRejected(f"an image must have at least {pixels_per_latent} x {pixels_per_latent} pixels")
    if spec.width_px % pixels_per_latent or spec.height_px % pixels_per_latent:
        raise JobRejected(
            f"sides must be multiples of {pixels_per_latent} pixels, not {spec.width_px} x {spec.height_px}"
        )
