"""The loop of a loaded engine: admits jobs and steps all images that can share a UNet call."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from itertools import count

import torch
from torch import Tensor

from engine_worker.engine.pipeline.postprocessing import DenoisedImage, FinishImage
from engine_worker.engine.pipeline.preparation import PreparedJob, Preparer
from engine_worker.engine.pipeline.preprocessing import (
    JobInputs,
    PendingJob,
    Preprocessor,
    is_cached,
    load_inputs,
)
from engine_worker.engine.pipeline.resources import EngineResources
from engine_worker.engine.runtime.cuda_stream import record_event
from engine_worker.engine.runtime.failures import fail_job
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.sampling.batch_scheduler import (
    Admission,
    Sample,
    SampleQueue,
    add,
    call,
    finish,
    next_group,
    remove,
)
from engine_worker.engine.sampling.batched_unet import UNetCalls
from engine_worker.engine.sampling.previews import Previews, expected
from engine_worker.engine.sampling.sampler import advance
from engine_worker.engine.sampling.trajectory import Trajectory
from engine_worker.port import NO_INPUTS, Emit, Inputs, Wake
from kernel.protocol.ids import JobId
from kernel.protocol.specs import JobOrder


class EngineCore:
    """The jobs of one loaded engine. All methods are for the stepping thread."""

    def __init__(
        self, resources: EngineResources, finish_image: FinishImage, slots: int, emit: Emit, wake: Wake
    ) -> None:
        self._resources = resources
        self._parts = resources.parts
        self._calls = UNetCalls(resources.parts, resources.adapters)
        self._previews = Previews(resources.parts.device)
        self._preparer = Preparer(resources, emit)
        self._preprocessor = Preprocessor(resources, wake)
        self._finish_image = finish_image
        self._seats = slots
        self._emit = emit
        self._numbers = count()
        self._line = SampleQueue()
        self._coming: dict[Admission, OpenJob] = {}
        """Jobs that are being preprocessed."""
        self._admitted: dict[Admission, PreparedJob] = {}
        self._trajectories: dict[Sample, Trajectory] = {}

    @torch.inference_mode()
    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        """Take a job in, or fail it; a job that is here already stays as it is."""
        self._forget_ended()
        if any(job.order.job_id == order.job_id for job in self._jobs()):
            return
        admission = Admission(next(self._numbers))
        try:
            job = self._preparer.open(order, inputs)
            if is_cached(self._resources, order, inputs):
                self._let_in(admission, job, load_inputs(self._resources, job, inputs))
                return
        except Exception as error:  # noqa: BLE001 - the border of one job: its error must not harm another
            fail_job(OpenJob(order, steps=0, warnings=(), emit=self._emit), error)
            return
        self._coming[admission] = job
        self._preprocessor.enter(PendingJob(admission, job, inputs))

    def cancel(self, job_id: JobId) -> None:
        """Drop a job, if it is here and still open."""
        for job in self._jobs():
            if job.order.job_id == job_id:
                job.drop()
        self._forget_ended()

    def close(self) -> None:
        """End what it does beside its steps."""
        self._preprocessor.close()
        self._previews.close()

    @property
    def is_preparing(self) -> bool:
        """True if a job will soon have been preprocessed."""
        return any(job.is_open for job in self._coming.values())

    @torch.inference_mode()
    def step(self) -> bool:
        """Make one denoising step with the images whose turn it is; False if there are none."""
        self._forget_ended()
        self._let_in_ready()
        group = next_group(self._line, self._seats)
        if group is None:
            return False
        self._line, places = call(self._line, group, self._seats, self._calls.most_rows(group))
        started = {place: self._trajectories[place] for place in places if self._start(place)}
        adapters = self._admitted[places[0].admission].adapters
        # A reference image of which nothing is taken back into noise is done before its first step.
        under_way = {place: one for place, one in started.items() if not one.is_done}
        predicted = self._calls.predict(under_way, adapters, self._fail)
        self._show(predicted)
        moved = [place for place, noise in predicted.items() if self._advance(place, noise)]
        for admission, images in Counter(place.admission for place in moved).items():
            self._admitted[admission].job.step_done(images)
        for place in started:
            if self._trajectories[place].is_done:
                self._hand_over(place)
        return True

    def _let_in_ready(self) -> None:
        for pending, job_inputs in self._preprocessor.take_ready():
            if self._coming.pop(pending.admission, None) is not None:
                try:
                    self._let_in(pending.admission, pending.job, job_inputs)
                except Exception as error:  # noqa: BLE001 - the border of one job
                    fail_job(pending.job, error)

    def _let_in(self, admission: Admission, job: OpenJob, job_inputs: JobInputs) -> None:
        prepared = self._preparer.prepare(job, job_inputs)
        self._admitted[admission] = prepared
        self._line = add(self._line, prepared.places(admission))

    def _start(self, place: Sample) -> bool:
        """Make sure that the image is under way; False if it cannot be."""
        if place in self._trajectories:
            return True
        try:
            self._trajectories[place] = self._admitted[place.admission].start(self._parts, place.index)
        except Exception as error:  # noqa: BLE001 - the border of one job
            self._fail(place, error)
            return False
        return True

    def _advance(self, place: Sample, noise: Tensor) -> bool:
        try:
            self._trajectories[place] = advance(self._trajectories[place], noise)
        except Exception as error:  # noqa: BLE001 - the border of one job
            self._fail(place, error)
            return False
        return True

    def _show(self, predicted: Mapping[Sample, Tensor]) -> None:
        """Let previews be drawn for jobs that it is time for."""
        by_job: dict[Admission, dict[int, Sample]] = {}
        for place in predicted:
            image = self._admitted[place.admission].order.pictures[place.index]
            by_job.setdefault(place.admission, {})[image.index] = place
        for admission, places in by_job.items():
            prepared = self._admitted[admission]
            index = self._previews.choose(prepared.job, tuple(places))
            if index is not None:
                latents = partial(expected, self._trajectories[places[index]], predicted[places[index]])
                self._previews.show(prepared.job, index, prepared.vae, latents)

    def _fail(self, place: Sample, error: Exception) -> None:
        fail_job(self._admitted[place.admission].job, error)

    def _hand_over(self, place: Sample) -> None:
        prepared = self._admitted[place.admission]
        latents = self._trajectories.pop(place).latents
        self._line = finish(self._line, place)
        image = prepared.order.pictures[place.index]
        tile_px = None if prepared.init_image is None else prepared.init_image.tile_px
        written = record_event(self._parts.device)
        self._finish_image(
            DenoisedImage(prepared.job, image, latents, prepared.vae, tile_px, prepared.digests, written)
        )

    def _jobs(self) -> list[OpenJob]:
        return [*self._coming.values(), *(prepared.job for prepared in self._admitted.values())]

    def _forget_ended(self) -> None:
        """Let go of all that belongs to jobs that are completed, failed or dropped, on whatever thread."""
        self._coming = {number: job for number, job in self._coming.items() if job.is_open}
        for admission in [number for number, one in self._admitted.items() if not one.job.is_open]:
            del self._admitted[admission]
            self._line = remove(self._line, admission)
            for place in [place for place in self._trajectories if place.admission == admission]:
                del self._trajectories[place]
