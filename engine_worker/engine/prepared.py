"""A job that is ready to be stepped, and all that its pictures share."""

from dataclasses import dataclass

import torch

from engine_worker.engine.adapters.wardrobe import AdapterSet
from engine_worker.engine.beginning import begin
from engine_worker.engine.brownian import BrownianScheduler, walk_on_the_cpu
from engine_worker.engine.canvas import Canvas
from engine_worker.engine.conditioning import Conditioning
from engine_worker.engine.control import Control
from engine_worker.engine.line import Admission, Group, Place
from engine_worker.engine.open_job import OpenJob
from engine_worker.engine.parts import Parts, Vae
from engine_worker.engine.recipe import Digests
from engine_worker.engine.repaint import Repaint
from engine_worker.engine.schedulers import make_schedule
from engine_worker.engine.sending import send
from engine_worker.engine.trajectory import Trajectory
from kernel.protocol.specs import JobOrder


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a job became of when it was let in. Nothing in here changes while its pictures are made."""

    job: OpenJob
    conditioning: Conditioning
    adapters: AdapterSet
    """Those that the UNet works with."""
    vae: Vae
    canvas: Canvas | None
    controls: tuple[Control, ...]
    digests: Digests

    @property
    def order(self) -> JobOrder:
        return self.job.order

    def places(self, admission: Admission) -> tuple[Place, ...]:
        """The places that its pictures take in the line."""
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
        return tuple(Place(admission, index, group, rows) for index in range(len(self.order.pictures)))

    def start(self, parts: Parts, index: int) -> Trajectory:
        """One of its pictures before its first step."""
        spec, seed = self.order.spec, self.order.pictures[index].seed
        generator = torch.Generator("cpu").manual_seed(seed)
        strength = None if self.canvas is None else self.canvas.strength
        schedule = make_schedule(spec, parts.scheduler_config, seed, strength)
        shape = (
            self.vae.latent_channels,
            spec.height_px // self.vae.pixels_per_latent,
            spec.width_px // self.vae.pixels_per_latent,
        )
        if isinstance(schedule.scheduler, BrownianScheduler):
            walk_on_the_cpu(schedule.scheduler, (1, *shape), parts.device)
        found = begin(schedule, generator, shape, self.canvas)
        further, repaint = found.further_channels, found.repaint
        return Trajectory(
            conditioning=self.conditioning,
            guidance_scale=spec.guidance_scale,
            schedule=schedule,
            generator=generator,
            latents=send(found.latents, parts.device),
            further_channels=None if further is None else send(further, parts.device),
            repaint=None if repaint is None else _on(repaint, parts.device),
            controls=self.controls,
        )


def _on(repaint: Repaint, device: torch.device) -> Repaint:
    return Repaint(repaint.original, repaint.noise, send(repaint.mask, device))
