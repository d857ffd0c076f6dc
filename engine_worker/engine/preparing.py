"""Letting a job in: everything that can be found out or made before its first step."""

from PIL import Image

from engine_worker.engine.canvas import pixels_of, prepare_canvas
from engine_worker.engine.control import Control
from engine_worker.engine.input_picture import decode_picture, fit
from engine_worker.engine.open_job import OpenJob
from engine_worker.engine.port import Emit, Inputs
from engine_worker.engine.prepared import Prepared, job_schedule
from engine_worker.engine.prompts.conditioning import Conditioner
from engine_worker.engine.workshop import Workshop
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import JobId
from kernel.protocol.ingredients import ControlUse
from kernel.protocol.specs import JobOrder, JobSpec
from kernel.protocol.vocabulary import InputKind


class Preparer:
    """Makes prepared jobs of orders."""

    def __init__(self, workshop: Workshop, emit: Emit) -> None:
        self._parts = workshop.parts
        self._ingredients = workshop.ingredients
        self._draw_map = workshop.draw_map
        self._conditioner = Conditioner(workshop.parts)
        self._emit = emit

    def prepare(self, order: JobOrder, inputs: Inputs) -> Prepared:
        """Raises: JobRejected, ModelUnreadable, OutOfMemory, and whatever a defective model raises."""
        spec = order.spec
        check_order(order, self._parts.vae.pixels_per_latent)
        self._ingredients.bring(order.models)
        vae = self._ingredients.vae(spec.vae)
        canvas = prepare_canvas(self._parts, vae, spec, inputs)
        # Made for its errors and its length: each picture gets a schedule of its own when it starts.
        calls = job_schedule(order, self._parts, canvas, spec.seed).calls
        self._ingredients.wear(spec.loras)
        prompted = self._conditioner.condition(order)
        return Prepared(
            job=OpenJob(order, calls * len(order.pictures), prompted.warnings, self._emit),
            conditioning=prompted.conditioning,
            vae=vae,
            canvas=canvas,
            controls=self._controls(order, inputs),
        )

    def _controls(self, order: JobOrder, inputs: Inputs) -> tuple[Control, ...]:
        spec = order.spec
        if not spec.controls:
            return ()
        data = inputs.get(InputKind.POSE)
        if data is None:
            raise JobRejected("A control needs the picture that its map is drawn from, and none came along")
        pose = fit(decode_picture(data, "pose image"), spec.width_px, spec.height_px, spec.image_fit)
        return tuple(
            self._control(order.job_id, use, number, pose, spec) for number, use in enumerate(spec.controls)
        )

    def _control(
        self, job_id: JobId, use: ControlUse, number: int, pose: Image.Image, spec: JobSpec
    ) -> Control:
        image = pose if use.is_preprocessed else self._draw_map(job_id, use.control_type, pose)
        return Control(
            net=self._ingredients.control_net(spec.control_models[number]),
            image=pixels_of(image).to(self._parts.device, self._parts.dtype),
            scale=use.scale,
            start=use.start,
            end=use.end,
        )


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
