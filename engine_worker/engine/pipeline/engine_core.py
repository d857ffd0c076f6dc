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
        self.slots = slots
        """The most images that are stepped together."""
        self._emit = emit
        self._numbers = count()
        self._queue = SampleQueue()
        self._preprocessing: dict[Admission, OpenJob] = {}
        """Jobs that are being preprocessed."""
        self._admitted: dict[Admission, PreparedJob] = {}
        self._trajectories: dict[Sample, Trajectory] = {}

    @torch.inference_mode()
    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        """Admit a job, or fail it. A job that is already here is left as it is."""
        self._forget_ended()
        if any(job.order.job_id == order.job_id for job in self._jobs()):
            return
        admission = Admission(next(self._numbers))
        try:
            job = self._preparer.open(order, inputs)
            if is_cached(self._resources, order, inputs):
                self._admit_prepared(admission, job, load_inputs(self._resources, job, inputs))
                return
        except Exception as error:  # noqa: BLE001 - the border of one job: its error must not harm another
            fail_job(OpenJob(order, steps=0, warnings=(), emit=self._emit), error)
            return
        self._preprocessing[admission] = job
        self._preprocessor.enter(PendingJob(admission, job, inputs))

    def cancel(self, job_id: JobId) -> None:
        """Drop a job, if it is here and open."""
        for job in self._jobs():
            if job.order.job_id == job_id:
                job.drop()
        self._forget_ended()

    def close(self) -> None:
        """End all background threads."""
        self._preprocessor.close()
        self._previews.close()

    @property
    def is_preparing(self) -> bool:
        """True if a job is being preprocessed."""
        return any(job.is_open for job in self._preprocessing.values())

    @torch.inference_mode()
    def step(self) -> bool:
        """Make one denoising step with the images whose turn it is. Returns: False, if there are none."""
        self._forget_ended()
        self._admit_ready()
        group = next_group(self._queue, self.slots)
        if group is None:
            return False
        self._queue, samples = call(self._queue, group, self.slots, self._calls.most_rows(group))
        started = {sample: self._trajectories[sample] for sample in samples if self._start(sample)}
        adapters = self._admitted[samples[0].admission].adapters
        # With strength 0 a reference image is finished before its first step.
        under_way = {sample: one for sample, one in started.items() if not one.is_done}
        predicted = self._calls.predict(under_way, adapters, self._fail)
        self._show(predicted)
        moved = [sample for sample, noise in predicted.items() if self._advance(sample, noise)]
        for admission, images in Counter(sample.admission for sample in moved).items():
            self._admitted[admission].job.step_done(images)
        for sample in started:
            if self._trajectories[sample].is_done:
                self._hand_over(sample)
        return True

    def _admit_ready(self) -> None:
        for pending, job_inputs in self._preprocessor.take_ready():
            if self._preprocessing.pop(pending.admission, None) is not None:
                try:
                    self._admit_prepared(pending.admission, pending.job, job_inputs)
                except Exception as error:  # noqa: BLE001 - the border of one job
                    fail_job(pending.job, error)

    def _admit_prepared(self, admission: Admission, job: OpenJob, job_inputs: JobInputs) -> None:
        prepared = self._preparer.prepare(job, job_inputs)
        self._admitted[admission] = prepared
        self._queue = add(self._queue, prepared.samples(admission))

    def _start(self, sample: Sample) -> bool:
        """Make sure that the image has a trajectory. Returns: False, if it cannot have one."""
        if sample in self._trajectories:
            return True
        try:
            self._trajectories[sample] = self._admitted[sample.admission].start(self._parts, sample.index)
        except Exception as error:  # noqa: BLE001 - the border of one job
            self._fail(sample, error)
            return False
        return True

    def _advance(self, sample: Sample, noise: Tensor) -> bool:
        try:
            self._trajectories[sample] = advance(self._trajectories[sample], noise)
        except Exception as error:  # noqa: BLE001 - the border of one job
            self._fail(sample, error)
            return False
        return True

    def _show(self, predicted: Mapping[Sample, Tensor]) -> None:
        """Render previews for the jobs that are due for one."""
        by_job: dict[Admission, dict[int, Sample]] = {}
        for sample in predicted:
            image = self._admitted[sample.admission].order.pictures[sample.index]
            by_job.setdefault(sample.admission, {})[image.index] = sample
        for admission, samples in by_job.items():
            prepared = self._admitted[admission]
            index = self._previews.choose(prepared.job, tuple(samples))
            if index is not None:
                latents = partial(expected, self._trajectories[samples[index]], predicted[samples[index]])
                self._previews.show(prepared.job, index, prepared.vae, latents)

    def _fail(self, sample: Sample, error: Exception) -> None:
        fail_job(self._admitted[sample.admission].job, error)

    def _hand_over(self, sample: Sample) -> None:
        prepared = self._admitted[sample.admission]
        latents = self._trajectories.pop(sample).latents
        self._queue = finish(self._queue, sample)
        image = prepared.order.pictures[sample.index]
        tile_px = None if prepared.init_image is None else prepared.init_image.tile_px
        written = record_event(self._parts.device)
        self._finish_image(
            DenoisedImage(
                job=prepared.job,
                image=image,
                latents=latents,
                vae=prepared.vae,
                encoded_tile_px=tile_px,
                digests=prepared.digests,
                overlay=prepared.overlay,
                written=written,
            )
        )

    def _jobs(self) -> list[OpenJob]:
        return [*self._preprocessing.values(), *(prepared.job for prepared in self._admitted.values())]

    def _forget_ended(self) -> None:
        """Release everything that belongs to jobs that have ended, on whatever thread."""
        self._preprocessing = {number: job for number, job in self._preprocessing.items() if job.is_open}
        for admission in [number for number, one in self._admitted.items() if not one.job.is_open]:
            del self._admitted[admission]
            self._queue = remove(self._queue, admission)
            for sample in [sample for sample in self._trajectories if sample.admission == admission]:
                del self._trajectories[sample]
