"""UNet calls for the images of one group: as large as pays off, split where one fails, and retried.

A batch that fails is called again in halves, so one failing image harms no other. A single image that does
not fit in memory is tried once more after the caches for later jobs were emptied; a larger batch is split
instead, because reloading cached models costs more than a second call.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from torch import Tensor

from engine_worker.engine.adapters.adapter_manager import AdapterManager
from engine_worker.engine.adapters.lora_manager import AdapterSet
from engine_worker.engine.networks.components import Components, Denoiser
from engine_worker.engine.runtime.failures import is_out_of_memory
from engine_worker.engine.runtime.oom_retry import retry_on_oom
from engine_worker.engine.runtime.stopwatch import make_stopwatch
from engine_worker.engine.sampling.batch_scheduler import Group, Sample
from engine_worker.engine.sampling.batch_sizing import BatchSizeTuner
from engine_worker.engine.sampling.sampler import predict
from engine_worker.engine.sampling.trajectory import Trajectory

Shared = TypeVar("Shared")
Made = TypeVar("Made")


class UNetCalls:
    """Calls the UNet of one engine. All methods are for the stepping thread."""

    def __init__(self, parts: Components, adapters: AdapterManager) -> None:
        self._parts = parts
        self._adapters = adapters
        self._sizes = BatchSizeTuner()
        self._stopwatch = make_stopwatch(parts.device)

    def most_rows(self, group: Group) -> int | None:
        """The most rows that a call for this group should have; None if no bound is known."""
        return self._sizes.most_rows(_kind(group))

    def predict(
        self,
        trajectories: Mapping[Sample, Trajectory],
        adapters: AdapterSet,
        fail: Callable[[Sample, Exception], None],
    ) -> dict[Sample, Tensor]:
        """Predict the noise of images of one group. `fail` is called for those that fail even alone, and only
        for those.

        Shapes: each prediction (1, channels, height, width), float32.
        """

        def make(samples: tuple[Sample, ...]) -> list[Tensor]:
            self._adapters.lora_manager.apply(adapters)
            return self._timed_call(samples, [trajectories[sample] for sample in samples], adapters)

        return call_in_parts(tuple(trajectories), make, fail)

    def _timed_call(
        self, samples: tuple[Sample, ...], trajectories: list[Trajectory], adapters: AdapterSet
    ) -> list[Tensor]:
        kind, rows = _kind(samples[0].group), sum(sample.rows for sample in samples)
        call = partial(predict, self._denoiser(adapters), trajectories, self._parts.dtype)
        timed = partial(self._stopwatch.time, call, partial(self._sizes.measured, kind, rows))
        try:
            # A larger batch is split instead, because reloading cached models costs more than a second call.
            return (
                timed()
                if len(samples) > 1
                else retry_on_oom(timed, self._parts.device, self._adapters.forget)
            )
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                self._sizes.lacked_memory(kind, rows)
            raise

    def _denoiser(self, adapters: AdapterSet) -> Denoiser:
        """The compiled or recorded UNet ignores LoRAs, so it is used only without them."""
        quick = self._parts.quick_denoiser
        return self._parts.denoiser if quick is None or adapters.loras else quick


def _kind(group: Group) -> tuple[int, int, int]:
    """Everything except the rows that decides the duration and the memory of a call."""
    return group.width_px, group.height_px, len(group.control_models)


def call_in_parts(
    images: tuple[Shared, ...],
    make: Callable[[tuple[Shared, ...]], Sequence[Made]],
    fail: Callable[[Shared, Exception], None],
) -> dict[Shared, Made]:
    """Make one call for all images. A call that fails is repeated in halves, down to the image that fails
    alone."""
    if not images:
        return {}
    try:
        return dict(zip(images, make(images), strict=True))
    except Exception as error:  # noqa: BLE001 - the border of one job
        if len(images) == 1:
            fail(images[0], error)
            return {}
    # Here the traceback no longer holds the tensors of the failed call.
    middle = len(images) // 2
    return call_in_parts(images[:middle], make, fail) | call_in_parts(images[middle:], make, fail)
