"""The finishing thread: latents come in, picture files go out, while the next steps are being made."""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

import torch
from torch import Tensor

from engine_worker.engine.failures import fail_job
from engine_worker.engine.open_job import OpenJob
from engine_worker.engine.parts import Vae
from engine_worker.engine.picture_file import MIMES, encode
from engine_worker.engine.pixels import decode
from engine_worker.engine.port import Pictured
from engine_worker.engine.recipe import recipe_text
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.schedulers import KINDS
from kernel.protocol.specs import PictureOrder


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture that needs no more steps. Shapes: latents (1, channels, height, width)."""

    job: OpenJob
    picture: PictureOrder
    latents: Tensor
    vae: Vae


FinishPicture = Callable[[Finished], None]
"""Takes a picture over and returns at once."""


class Finisher:
    """Decodes, encodes and emits pictures, one after the other, on a thread of its own."""

    def __init__(self, checkpoint: ModelSource) -> None:
        self._checkpoint = checkpoint
        self._queue: SimpleQueue[Finished | None] = SimpleQueue()
        self._broken: torch.AcceleratorError | None = None
        self._thread = Thread(target=self._run, name="finisher", daemon=True)
        self._thread.start()

    def put(self, finished: Finished) -> None:
        """Hand over a picture; returns at once.

        Raises: torch.AcceleratorError, if the device broke while an earlier one was being finished.
        """
        if self._broken is not None:
            raise self._broken
        self._queue.put(finished)

    def close(self) -> None:
        """Wait until every picture that was handed over is out."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while (finished := self._queue.get()) is not None:
                    if finished.job.is_open:
                        self._finish(finished)
        except torch.AcceleratorError as error:
            self._broken = error

    def _finish(self, finished: Finished) -> None:
        try:
            finished.job.picture_done(self._picture(finished))
        except Exception as error:  # noqa: BLE001 - the border of one job: its error must not harm another
            fail_job(finished.job, error)

    def _picture(self, finished: Finished) -> Pictured:
        order, picture = finished.job.order, finished.picture
        spec = order.spec
        pixels = decode(finished.vae, finished.latents)
        recipe = recipe_text(spec, picture.seed, self._checkpoint, KINDS[spec.scheduler].label)
        return Pictured(
            job_id=order.job_id,
            index=picture.index,
            image_id=picture.image_id,
            seed=picture.seed,
            mime=MIMES[spec.image_file_type],
            width_px=pixels.shape[1],
            height_px=pixels.shape[0],
            data=encode(pixels, spec.image_file_type, spec.quality, recipe),
        )
