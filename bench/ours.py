"""Our sampler on the parts of a checkpoint, without a worker around it: alone, and in company."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from bench.bell import Bell, run_out
from bench.stock import Asked
from engine_worker.engine.adapters.adapter_manager import AdapterManager
from engine_worker.engine.networks.components import Components, ControlNet
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import DenoisedImage
from engine_worker.engine.pipeline.preparation import PreparedJob, Preparer
from engine_worker.engine.pipeline.preprocessing import load_inputs
from engine_worker.engine.pipeline.resources import EngineResources, bare_resources
from engine_worker.engine.sampling.sampler import advance, predict
from engine_worker.port import NO_INPUTS, Emit, Failed, Inputs, Outcome
from kernel.protocol.ids import ImageId, JobId, ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import JobOrder, PictureOrder

USUAL_REACH: Final = 4.0
"""Of the latents of trained checkpoints: they hardly ever end beyond it."""


class Nets(AdapterManager):
    """Extras with ControlNets that are here already."""

    def __init__(self, parts: Components, nets: Mapping[ModelId, ControlNet]) -> None:
        super().__init__(parts)
        self._nets = nets

    def controlnet(self, sources: Sequence[ModelSource], model_id: ModelId) -> ControlNet:
        return self._nets[model_id]


@dataclass
class Gathered:
    """Takes the latents of finished pictures, and what else is said of their jobs."""

    latents: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    def finish(self, finished: DenoisedImage) -> None:
        self.latents[finished.job.order.job_id, finished.image.index] = finished.latents

    def emit(self, outcome: Outcome) -> None:
        """Raises: RuntimeError, if a job failed."""
        if isinstance(outcome, Failed):
            raise RuntimeError(outcome.text)
        self.outcomes.append(outcome)


def resources(parts: Components, nets: Mapping[ModelId, ControlNet]) -> EngineResources:
    """What a studio works with, if the control maps come with the jobs."""
    return replace(bare_resources(parts), adapters=Nets(parts, nets))


def order_of(job_id: str, asked: Asked) -> JobOrder:
    """The order for a job's pictures, each with a seed of its own."""
    spec = asked.spec
    pictures = tuple(
        PictureOrder(index=index, image_id=ImageId(f"{job_id}-{index}"), seed=spec.seed + index)
        for index in range(spec.count)
    )
    return JobOrder(job_id=JobId(job_id), spec=spec, models=tuple(asked.models), pictures=pictures)


def distance(made: Tensor, wanted: Tensor) -> float:
    """The largest difference of any number of two latents, as if they ended where those of trained
    checkpoints do: those of random weights end further out, and what rounding leaves with them."""
    reach = max(wanted.abs().max().item(), USUAL_REACH)
    return bare_distance(made, wanted) * USUAL_REACH / reach


def bare_distance(made: Tensor, wanted: Tensor) -> float:
    """The largest difference of any number of two latents, as they are."""
    return (made - wanted).abs().max().item()


def prepare_now(
    work: EngineResources, order: JobOrder, inputs: Inputs = NO_INPUTS, emit: Emit = lambda outcome: None
) -> PreparedJob:
    """All of a job's preparing in one go."""
    preparer = Preparer(work, emit)
    job = preparer.open(order, inputs)
    return preparer.prepare(job, load_inputs(work, job, inputs))


@torch.inference_mode()
def make_alone(work: EngineResources, asked: Asked) -> Tensor:
    """The latents of a job's first picture, made by our sampler with nobody beside it."""
    prepared = prepare_now(work, order_of("alone", asked), asked.inputs)
    work.adapters.lora_manager.apply(prepared.adapters)
    trajectory = prepared.start(work.parts, 0)
    while not trajectory.is_done:
        (noise,) = predict(work.parts.denoiser, [trajectory], work.parts.dtype)
        trajectory = advance(trajectory, noise)
    return trajectory.latents


def make_together(work: EngineResources, jobs: Sequence[Asked], slots: int) -> list[Tensor]:
    """The latents of each job's first picture, all made in one studio."""
    gathered, bell = Gathered(), Bell()
    engine_core = EngineCore(work, gathered.finish, slots, gathered.emit, bell.ring)
    for number, asked in enumerate(jobs):
        engine_core.admit(order_of(f"job-{number}", asked), asked.inputs)
    run_out(engine_core, bell)
    engine_core.close()
    return [gathered.latents[f"job-{number}", 0] for number in range(len(jobs))]
