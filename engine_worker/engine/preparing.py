"""Letting a job in: everything that can be found out or made before its first step."""

from engine_worker.engine.adapters.wardrobe import AdapterSet
from engine_worker.engine.canvas import pixels_of, prepare_canvas
from engine_worker.engine.control import Control
from engine_worker.engine.detectors.maps import control_maps
from engine_worker.engine.open_job import OpenJob
from engine_worker.engine.port import Emit, Inputs
from engine_worker.engine.prepared import Prepared, job_schedule
from engine_worker.engine.prompts.conditioning import Prompted
from engine_worker.engine.sending import send
from engine_worker.engine.workshop import Workshop
from kernel.protocol.errors import JobRejected
from kernel.protocol.specs import JobOrder, JobSpec


class Preparer:
    """Makes prepared jobs of orders. All methods are for the stepping thread."""

    def __init__(self, workshop: Workshop, emit: Emit) -> None:
        self._workshop = workshop
        self._emit = emit

    def prepare(self, order: JobOrder, inputs: Inputs) -> Prepared:
        """Do all that the pictures of a job share.

        Raises: JobRejected, if the job cannot be made as it is described; ModelUnreadable, NotInstalled,
        OutOfMemory, and whatever a defective model raises.
        """
        parts, extras = self._workshop.parts, self._workshop.extras
        check_order(order, parts.vae.pixels_per_latent)
        vae = extras.vae(order.models, order.spec.vae)
        canvas = prepare_canvas(parts, vae, order.spec, inputs)
        # Made for its errors and its length: each picture gets a schedule of its own when it starts.
        calls = job_schedule(order, parts, canvas, order.spec.seed).calls
        adapters = extras.wardrobe.prepare(order.models, order.spec.loras)
        prompted = self._prompted(order, adapters)
        warnings = (*adapters.warnings, *prompted.warnings, *_steps_warning(order.spec, calls))
        return Prepared(
            job=OpenJob(order, calls * len(order.pictures), warnings, self._emit),
            conditioning=prompted.conditioning,
            adapters=adapters.for_unet,
            vae=vae,
            canvas=canvas,
            controls=self._controls(order, inputs),
        )

    def _prompted(self, order: JobOrder, adapters: AdapterSet) -> Prompted:
        worn = adapters.for_text
        self._workshop.extras.wardrobe.wear(worn)
        return self._workshop.conditioner.condition(order, worn.identities)

    def _controls(self, order: JobOrder, inputs: Inputs) -> tuple[Control, ...]:
        parts, spec = self._workshop.parts, order.spec
        maps = control_maps(order, inputs, self._workshop.detect, self._emit)
        return tuple(
            Control(
                net=self._workshop.extras.controlnet(order.models, model_id),
                image=send(pixels_of(drawn).to(parts.dtype), parts.device),
                scale=use.scale,
                start=use.start,
                end=use.end,
            )
            for use, model_id, drawn in zip(spec.controls, spec.control_models, maps, strict=True)
        )


def _steps_warning(spec: JobSpec, calls: int) -> tuple[str, ...]:
    if calls:
        return ()
    shortage = f"A strength of {spec.strength:g} leaves none of {spec.steps} steps"
    return (f"{shortage}: the picture is the reference image",)


def check_order(order: JobOrder, pixels_per_latent: int) -> None:
    """Raises: JobRejected, if there is nothing to make, or the size is not whole latents."""
    spec = order.spec
    if not order.pictures or spec.steps < 1:
        raise JobRejected("A job needs at least one picture and one step")
    if min(spec.width_px, spec.height_px) < pixels_per_latent:
        raise JobRejected(f"A picture has at least {pixels_per_latent} x {pixels_per_latent} pixels")
    if spec.width_px % pixels_per_latent or spec.height_px % pixels_per_latent:
        raise JobRejected(
            f"{spec.width_px} x {spec.height_px} pixels: sizes are multiples of {pixels_per_latent}"
        )
    if len(spec.control_models) != len(spec.controls):
        raise JobRejected("Each control needs a ControlNet, and they are not as many")
