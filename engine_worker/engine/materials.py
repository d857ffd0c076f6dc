"""What a job's pictures are made of, read and drawn: all that needs no network of the checkpoint."""

from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

from engine_worker.engine.adapters.wardrobe import AdapterSet
from engine_worker.engine.canvas import CanvasPixels, pixels_of, read_pixels
from engine_worker.engine.control import Control
from engine_worker.engine.detectors.maps import control_maps
from engine_worker.engine.open_job import OpenJob
from engine_worker.engine.parts import ControlNet, Vae
from engine_worker.engine.port import Inputs
from engine_worker.engine.prompts.conditioning import Words
from engine_worker.engine.recipe import Digests
from engine_worker.engine.second_try import again
from engine_worker.engine.sending import send
from engine_worker.engine.workshop import Workshop
from kernel.protocol.specs import JobOrder, JobSpec


@dataclass(frozen=True, slots=True)
class Materials:
    """Nothing in here has been encoded."""

    words: Words
    vae: Vae
    adapters: AdapterSet
    canvas: CanvasPixels
    nets: tuple[ControlNet, ...]
    digests: Digests
    controls: tuple[Control, ...] = ()
    """As many as the nets, once the maps are drawn."""


def is_at_hand(workshop: Workshop, order: JobOrder, inputs: Inputs) -> bool:
    """True if there is nothing to read, to load or to draw: getting a job's materials takes no time."""
    has_models = all(map(workshop.extras.has, order.models))
    has_vectors = workshop.conditioner.has_vectors(order)
    return not inputs and has_models and has_vectors and workshop.conditioner.has_words(order)


def read_materials(workshop: Workshop, order: JobOrder, inputs: Inputs) -> Materials:
    """Read the prompts, load the models and decode the pictures of a job; once more without what is kept for
    later jobs, if there is no memory for it. For every thread.

    Raises: JobRejected, if the job cannot be made as it is described; ModelUnreadable, NotInstalled,
    torch.OutOfMemoryError, and whatever a defective model raises.
    """
    read = partial(_read_materials, workshop, order, inputs)
    return again(read, workshop.parts.device, workshop.extras.forget)


def _read_materials(workshop: Workshop, order: JobOrder, inputs: Inputs) -> Materials:
    extras, spec = workshop.extras, order.spec
    workshop.conditioner.load_vectors(order)
    return Materials(
        words=workshop.conditioner.read(order),
        vae=extras.vae(order.models, spec.vae),
        adapters=extras.wardrobe.prepare(order.models, spec.loras),
        canvas=read_pixels(spec, inputs),
        nets=tuple(extras.controlnet(order.models, model_id) for model_id in spec.control_models),
        digests={kind: sha256(data).hexdigest() for kind, data in inputs.items()},
    )


def gather(workshop: Workshop, job: OpenJob, inputs: Inputs) -> Materials:
    """All of a job's materials at once. Raises: as `read_materials` and `with_controls`."""
    return with_controls(workshop, job, inputs, read_materials(workshop, job.order, inputs))


def is_to_be_drawn(spec: JobSpec) -> bool:
    """True if a detector has to draw a control map, which may take minutes on a CPU."""
    return any(not use.is_preprocessed for use in spec.controls)


def with_controls(workshop: Workshop, job: OpenJob, inputs: Inputs, materials: Materials) -> Materials:
    """The materials with the job's control maps, drawn where they did not come along; drawing is for one
    thread at a time.

    Raises: JobRejected, if there is no pose image, it is none, or nothing is to be seen on it; NotInstalled,
    ModelUnreadable, and whatever a detector raises.
    """
    parts, spec = workshop.parts, job.order.spec
    maps = control_maps(job.order, inputs, workshop.detect, job.mapped)
    controls = tuple(
        Control(
            net=net,
            image=send(pixels_of(drawn).to(parts.dtype), parts.device),
            scale=use.scale,
            start=use.start,
            end=use.end,
        )
        for use, net, drawn in zip(spec.controls, materials.nets, maps, strict=True)
    )
    return replace(materials, controls=controls)
