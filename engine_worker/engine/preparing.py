"""Letting a job in: what is found out when it comes, and what its networks make of its materials."""

from functools import partial

from engine_worker.engine.canvas import encode_canvas, strength_of
from engine_worker.engine.detectors.maps import check_pose
from engine_worker.engine.materials import Materials
from engine_worker.engine.open_job import OpenJob
from engine_worker.engine.port import Emit, Inputs
from engine_worker.engine.prepared import Prepared
from engine_worker.engine.prompts.conditioning import Prompted
from engine_worker.engine.rehearsal import rehearse
from engine_worker.engine.schedulers import make_schedule
from engine_worker.engine.second_try import again
from engine_worker.engine.workshop import Workshop
from kernel.protocol.errors import JobRejected
from kernel.protocol.specs import JobOrder, JobSpec


class Preparer:
    """Makes prepared jobs of orders. All methods are for the stepping thread."""

    def __init__(self, workshop: Workshop, emit: Emit) -> None:
        self._workshop = workshop
        self._emit = emit

    def open(self, order: JobOrder, inputs: Inputs) -> OpenJob:
        """See whether the job makes sense, before any work is put into it.

        Raises: JobRejected, if it does not.
        """
        parts, spec = self._workshop.parts, order.spec
        check_order(order, parts.vae.pixels_per_latent)
        check_pose(order, inputs)
        strength = strength_of(parts, spec, inputs)
        if spec.scheduler_config:
            rehearse(spec, parts.scheduler_config, strength)
        # Made for its errors and its length: each picture gets a schedule of its own when it starts.
        schedule = make_schedule(spec, parts.scheduler_config, spec.seed, strength)
        warnings = _steps_warning(spec, schedule.calls)
        return OpenJob(order, schedule.calls * len(order.pictures), warnings, self._emit)

    def prepare(self, job: OpenJob, materials: Materials) -> Prepared:
        """Do all that the pictures of a job share; once more without what is kept for later jobs, if there is
        no memory for it.

        Raises: JobRejected, if the job cannot be made as it is described; torch.OutOfMemoryError, and
        whatever a defective model raises.
        """
        workshop = self._workshop
        return again(partial(self._prepare, job, materials), workshop.parts.device, workshop.extras.clear)

    def _prepare(self, job: OpenJob, materials: Materials) -> Prepared:
        parts, order, vae = self._workshop.parts, job.order, materials.vae
        canvas = encode_canvas(parts, vae, order.spec, materials.canvas)
        prompted = self._prompted(order, materials)
        for warning in (*materials.adapters.warnings, *prompted.warnings):
            job.warn(warning)
        return Prepared(
            job=job,
            conditioning=prompted.conditioning,
            adapters=materials.adapters.for_unet,
            vae=vae,
            canvas=canvas,
            controls=materials.controls,
            digests=materials.digests,
        )

    def _prompted(self, order: JobOrder, materials: Materials) -> Prompted:
        worn = materials.adapters.for_text
        self._workshop.extras.wardrobe.wear(worn)
        return self._workshop.conditioner.condition(order, worn.identities, materials.words)


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
