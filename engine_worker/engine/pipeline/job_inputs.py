"""The inputs of a job: images read, control maps drawn. Needs no network of the checkpoint."""

from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

from engine_worker.engine.adapters.lora_manager import AdapterSet
from engine_worker.engine.detectors.maps import control_maps
from engine_worker.engine.images.infotext import Digests
from engine_worker.engine.networks.components import ControlNet, Vae
from engine_worker.engine.networks.controlnet import Control
from engine_worker.engine.pipeline.resources import EngineResources
from engine_worker.engine.prompts.prompt_encoder import ParsedPrompts
from engine_worker.engine.runtime.async_copy import copy_async
from engine_worker.engine.runtime.oom_retry import retry_on_oom
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.sampling.init_image import InitImagePixels, pixels_of, read_pixels
from engine_worker.port import Inputs
from kernel.protocol.specs import JobOrder, JobSpec


@dataclass(frozen=True, slots=True)
class JobInputs:
    """Nothing in here has been encoded."""

    words: ParsedPrompts
    vae: Vae
    adapters: AdapterSet
    init_image: InitImagePixels
    nets: tuple[ControlNet, ...]
    digests: Digests
    controls: tuple[Control, ...] = ()
    """As many as the nets, once the maps are drawn."""


def is_cached(resources: EngineResources, order: JobOrder, inputs: Inputs) -> bool:
    """True if there is nothing to read, to load or to draw: getting a job's materials takes no time."""
    has_models = all(map(resources.adapters.has, order.models))
    has_vectors = resources.prompt_encoder.has_vectors(order)
    return not inputs and has_models and has_vectors and resources.prompt_encoder.has_words(order)


def read_inputs(resources: EngineResources, order: JobOrder, inputs: Inputs) -> JobInputs:
    """Read the prompts, load the models and decode the images of a job; once more without what is kept for
    later jobs, if there is no memory for it. For every thread.

    Raises: JobRejected, if the job cannot be made as it is described; ModelUnreadable, NotInstalled,
    torch.OutOfMemoryError, and whatever a defective model raises.
    """
    read = partial(_read_inputs, resources, order, inputs)
    return retry_on_oom(read, resources.parts.device, resources.adapters.forget)


def _read_inputs(resources: EngineResources, order: JobOrder, inputs: Inputs) -> JobInputs:
    adapters, spec = resources.adapters, order.spec
    resources.prompt_encoder.load_vectors(order)
    return JobInputs(
        words=resources.prompt_encoder.read(order),
        vae=adapters.vae(order.models, spec.vae),
        adapters=adapters.lora_manager.prepare(order.models, spec.loras),
        init_image=read_pixels(spec, inputs),
        nets=tuple(adapters.controlnet(order.models, model_id) for model_id in spec.control_models),
        digests={kind: sha256(data).hexdigest() for kind, data in inputs.items()},
    )


def load_inputs(resources: EngineResources, job: OpenJob, inputs: Inputs) -> JobInputs:
    """All of a job's materials at once. Raises: as `read_inputs` and `with_controls`."""
    return with_controls(resources, job, inputs, read_inputs(resources, job.order, inputs))


def is_to_be_drawn(spec: JobSpec) -> bool:
    """True if a detector has to draw a control map, which may take minutes on a CPU."""
    return any(not use.is_preprocessed for use in spec.controls)


def with_controls(
    resources: EngineResources, job: OpenJob, inputs: Inputs, job_inputs: JobInputs
) -> JobInputs:
    """The materials with the job's control maps, drawn where they did not come along; drawing is for one
    thread at a time.

    Raises: JobRejected, if there is no pose image, it is none, or nothing is to be seen on it; NotInstalled,
    ModelUnreadable, and whatever a detector raises.
    """
    parts, spec = resources.parts, job.order.spec
    maps = control_maps(job.order, inputs, resources.detect, job.mapped)
    controls = tuple(
        Control(
            net=net,
            image=copy_async(pixels_of(drawn).to(parts.dtype), parts.device),
            scale=use.scale,
            start=use.start,
            end=use.end,
        )
        for use, net, drawn in zip(spec.controls, job_inputs.nets, maps, strict=True)
    )
    return replace(job_inputs, controls=controls)
