"""A loaded engine at work: jobs come in, and every step moves all pictures that can share it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from engine_worker.engine.failures import fail_job
from engine_worker.engine.finishing import Finished, FinishPicture
from engine_worker.engine.line import Admission, Group, Line, Place, call, finish, join, leave
from engine_worker.engine.open_job import OpenJob
from engine_worker.engine.parts import Parts
from engine_worker.engine.port import NO_INPUTS, Emit, Inputs
from engine_worker.engine.prompts import condition, truncation_warnings
from engine_worker.engine.sampler import Conditioning, Trajectory, advance, predict, start
from engine_worker.engine.schedulers import make_schedule
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import JobId
from kernel.protocol.specs import JobOrder, JobSpec


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A job in the studio, and what its pictures share."""

    job: OpenJob
    conditioning: Conditioning

    @property
    def order(self) -> JobOrder:
        return self.job.order


class Studio:
    """The jobs of one loaded engine. All methods are for the stepping thread."""

    def __init__(self, parts: Parts, finish_picture: FinishPicture, seats: int, emit: Emit) -> None:
        self._parts = parts
        self._finish_picture = finish_picture
        self._seats = seats
        self._emit = emit
        self._numbers = count()
        self._line = Line()
        self._admitted: dict[Admission, _Admitted] = {}
        self._trajectories: dict[Place, Trajectory] = {}

    @torch.inference_mode()
    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        """Take a job in, or fail it; a job that is here already stays as it is."""
        self._forget_ended()
        if any(entry.order.job_id == order.job_id for entry in self._admitted.values()):
            return
        try:
            entry = self._prepare(order)
        except Exception as error:  # noqa: BLE001 - the border of one job: its error must not harm another
            fail_job(OpenJob(order, steps=0, warnings=(), emit=self._emit), error)
            return
        admission = Admission(next(self._numbers))
        self._admitted[admission] = entry
        group = Group(order.spec.width_px, order.spec.height_px)
        places = tuple(Place(admission, index, group) for index in range(len(order.pictures)))
        self._line = join(self._line, places)

    def cancel(self, job_id: JobId) -> None:
        """Drop a job, if it is here and still open."""
        for entry in self._admitted.values():
            if entry.order.job_id == job_id:
                entry.job.drop()
        self._forget_ended()

    @torch.inference_mode()
    def step(self) -> bool:
        """Make one denoising step with the pictures whose turn it is; False if there are none."""
        self._forget_ended()
        self._line, places = call(self._line, self._seats)
        started = [place for place in places if self._start(place)]
        moved = [place for place, noise in self._predict(started).items() if self._advance(place, noise)]
        for admission, pictures in Counter(place.admission for place in moved).items():
            self._admitted[admission].job.step_done(pictures)
        for place in moved:
            if self._trajectories[place].is_done:
                self._hand_over(place)
        return bool(places)

    def _prepare(self, order: JobOrder) -> _Admitted:
        spec = order.spec
        _check(order, self._parts.vae.pixels_per_latent)
        # Made for its errors and its length: each picture gets a schedule of its own when it starts.
        schedule = make_schedule(
            spec.scheduler, spec.steps, self._parts.scheduler_config, spec.scheduler_config
        )
        warnings = truncation_warnings(self._parts, spec)
        job = OpenJob(order, schedule.calls * len(order.pictures), warnings, self._emit)
        return _Admitted(job, condition(self._parts, spec))

    def _start(self, place: Place) -> bool:
        """Make sure that the picture is under way; False if it cannot be."""
        if place in self._trajectories:
            return True
        entry = self._admitted[place.admission]
        try:
            self._trajectories[place] = self._first(entry, entry.order.spec, place)
        except Exception as error:  # noqa: BLE001 - the border of one job
            fail_job(entry.job, error)
            return False
        return True

    def _first(self, entry: _Admitted, spec: JobSpec, place: Place) -> Trajectory:
        vae = self._parts.vae
        schedule = make_schedule(
            spec.scheduler, spec.steps, self._parts.scheduler_config, spec.scheduler_config
        )
        height, width = spec.height_px // vae.pixels_per_latent, spec.width_px // vae.pixels_per_latent
        seed = entry.order.pictures[place.index].seed
        return start(
            entry.conditioning, spec.guidance_scale, schedule, seed, (vae.latent_channels, height, width)
        )

    def _predict(self, places: Sequence[Place]) -> dict[Place, Tensor]:
        """The noise of each picture. A call that fails is made again in halves, down to the picture that
        fails alone: that one's job has failed, and the others never notice."""
        if not places:
            return {}
        trajectories = [self._trajectories[place] for place in places]
        try:
            noises = predict(self._parts.denoiser, trajectories, self._parts.dtype)
            return dict(zip(places, noises, strict=True))
        except Exception as error:  # noqa: BLE001 - the border of one job
            if len(places) == 1:
                fail_job(self._admitted[places[0].admission].job, error)
                return {}
        # Out here the failed call's tensors are no longer held by its traceback.
        middle = len(places) // 2
        return self._predict(places[:middle]) | self._predict(places[middle:])

    def _advance(self, place: Place, noise: Tensor) -> bool:
        try:
            self._trajectories[place] = advance(self._trajectories[place], noise)
        except Exception as error:  # noqa: BLE001 - the border of one job
            fail_job(self._admitted[place.admission].job, error)
            return False
        return True

    def _hand_over(self, place: Place) -> None:
        entry = self._admitted[place.admission]
        latents = self._trajectories.pop(place).latents
        self._line = finish(self._line, place)
        picture = entry.order.pictures[place.index]
        self._finish_picture(Finished(entry.job, picture, latents, self._parts.vae))

    def _forget_ended(self) -> None:
        """Let go of all that belongs to jobs that are completed, failed or dropped, on whatever thread."""
        for admission in [number for number, entry in self._admitted.items() if not entry.job.is_open]:
            del self._admitted[admission]
            self._line = leave(self._line, admission)
            for place in [place for place in self._trajectories if place.admission == admission]:
                del self._trajectories[place]


def _check(order: JobOrder, pixels_per_latent: int) -> None:
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
