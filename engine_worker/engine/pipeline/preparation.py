"""Prepares a job for its first step: checks on arrival, then conditioning and initial latents."""

from functools import partial

from engine_worker.engine.detectors.maps import check_pose
from engine_worker.engine.pipeline.job_inputs import JobInputs
from engine_worker.engine.pipeline.resources import EngineResources
from engine_worker.engine.prompts.prompt_encoder import EncodedPrompts
from engine_worker.engine.runtime.oom_retry import retry_on_oom
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.sampling.init_image import encode_init_image, strength_of
from engine_worker.engine.sampling.prepared_job import PreparedJob
from engine_worker.engine.sampling.scheduler_dry_run import dry_run
from engine_worker.engine.sampling.schedulers import make_schedule
from engine_worker.port import Emit, Inputs
from kernel.protocol.errors import JobRejected
from kernel.protocol.specs import JobOrder, JobSpec


class Preparer:
    """Makes prepared jobs of orders. All methods are for the stepping thread."""

    def __init__(self, resources: EngineResources, emit: Emit) -> None:
        self._resources = resources
        self._emit = emit

    def open(self, order: JobOrder, inputs: Inputs) -> OpenJob:
        """See whether the job makes sense, before any work is put into it.

        Raises: JobRejected, if it does not.
        """
        parts, spec = self._resources.parts, order.spec
        check_order(order, parts.vae.pixels_per_latent)
        check_pose(order, inputs)
        strength = strength_of(parts, spec, inputs)
        if spec.scheduler_config:
            dry_run(spec, parts.scheduler_config, strength)
        # Made for its errors and its length: each image gets a schedule of its own when it starts.
        schedule = make_schedule(spec, parts.scheduler_config, spec.seed, strength)
        warnings = _steps_warning(spec, schedule.calls)
        return OpenJob(order, schedule.calls * len(order.pictures), warnings, self._emit)

    def prepare(self, job: OpenJob, job_inputs: JobInputs) -> PreparedJob:
        """Do all that the images of a job share; once more without what is kept for later jobs, if there is
        no memory for it.

        Raises: JobRejected, if the job cannot be made as it is described; torch.OutOfMemoryError, and
        whatever a defective model raises.
        """
        resources = self._resources
        return retry_on_oom(
            partial(self._prepare, job, job_inputs), resources.parts.device, resources.adapters.clear
        )

    def _prepare(self, job: OpenJob, job_inputs: JobInputs) -> PreparedJob:
        parts, order, vae = self._resources.parts, job.order, job_inputs.vae
        init_image = encode_init_image(parts, vae, order.spec, job_inputs.init_image)
        encoded_prompts = self._prompted(order, job_inputs)
        for warning in (*job_inputs.adapters.warnings, *encoded_prompts.warnings):
            job.warn(warning)
        return PreparedJob(
            job=job,
            conditioning=encoded_prompts.conditioning,
            adapters=job_inputs.adapters.for_unet,
            vae=vae,
            init_image=init_image,
            controls=job_inputs.controls,
            digests=job_inputs.digests,
        )

    def _prompted(self, order: JobOrder, job_inputs: JobInputs) -> EncodedPrompts:
        active = job_inputs.adapters.for_text
        self._resources.adapters.lora_manager.apply(active)
        return self._resources.prompt_encoder.condition(order, active.identities, job_inputs.words)


def _steps_warning(spec: JobSpec, calls: int) -> tuple[str, ...]:
    if calls:
        return ()
    shortage = f"strength {spec.strength:g} leaves none of the {spec.steps} steps"
    return (f"{shortage}: the image is the unchanged reference image",)


def check_order(order: JobOrder, pixels_per_latent: int) -> None:
    """Raises: JobRejected, if there is nothing to make, or the size is not whole latents."""
    spec = order.spec
    if not order.pictures or spec.steps < 1:
        raise JobRejected("a job must have at least one image and one step")
    if min(spec.width_px, spec.height_px) < pixels_per_latent:
        raise JobRejected(f"an image must have at least {pixels_per_latent} x {pixels_per_latent} pixels")
    if spec.width_px % pixels_per_latent or spec.height_px % pixels_per_latent:
        raise JobRejected(
            f"sides must be multiples of {pixels_per_latent} pixels, not {spec.width_px} x {spec.height_px}"
        )
    if len(spec.control_models) != len(spec.controls):
        raise JobRejected(
            f"{len(spec.controls)} controls but {len(spec.control_models)} ControlNets: "
            "one ControlNet per control is required"
        )
