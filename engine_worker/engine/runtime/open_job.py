"""A job inside the engine: the single place through which its outcomes leave, from any thread."""

from threading import Lock

from engine_worker.port import Completed, Dropped, Emit, Failed, ImageEncoded, Mapped, Previewed, Stepped
from kernel.protocol.enums import Stage
from kernel.protocol.specs import JobOrder


class OpenJob:
    """An admitted job, open until its one ending; after that nothing of it leaves the engine any more.

    A control map may be being drawn, or an image be on its way out, on another thread while the job is
    cancelled on the main thread: the lock decides which was first.
    """

    def __init__(self, order: JobOrder, steps: int, warnings: tuple[str, ...], emit: Emit) -> None:
        self.order = order
        self._emit = emit
        self._warnings = warnings
        self._lock = Lock()
        self._is_open = True
        self._steps = steps
        self._steps_done = 0
        self._stage = Stage.DENOISING
        self._images_missing = len(order.pictures)

    @property
    def is_open(self) -> bool:
        return self._is_open

    def prepares(self) -> None:
        """Something that precedes its first step begins."""
        with self._lock:
            if self._is_open:
                self._emit(Stepped(self.order.job_id, self._steps_done, self._steps, Stage.PREPARING))

    def mapped(self, drawn: Mapped) -> None:
        """A detector has drawn one of its control maps."""
        with self._lock:
            if self._is_open:
                self._emit(drawn)

    def step_done(self, images: int) -> None:
        """So many of the job's images have made a step together."""
        with self._lock:
            self._steps_done += images
            if self._is_open:
                self._emit(Stepped(self.order.job_id, self._steps_done, self._steps))

    def look(self, index: int, data: bytes) -> None:
        """This is how one of its images looks so far: a small JPEG file."""
        with self._lock:
            if self._is_open:
                self._emit(Previewed(self.order.job_id, index, self._steps_done, data))

    def come_to(self, stage: Stage) -> None:
        """This is done with one of its images now: the job's stage, once no image has steps left."""
        with self._lock:
            is_news = self._steps_done >= self._steps and stage is not self._stage
            if self._is_open and is_news:
                self._stage = stage
                self._emit(Stepped(self.order.job_id, self._steps_done, self._steps, stage))

    def warn(self, text: str) -> None:
        """Tell the job's owner something, once, with its completion."""
        with self._lock:
            if text not in self._warnings:
                self._warnings += (text,)

    def image_done(self, image: ImageEncoded) -> None:
        """An image is ready; with the last one the job is completed."""
        with self._lock:
            if not self._is_open:
                return
            self._emit(image)
            self._images_missing -= 1
            if not self._images_missing:
                self._end(Completed(self.order.job_id, self._warnings))

    def fail(self, code: str, text: str) -> None:
        """End the job without the rest of its images."""
        with self._lock:
            if self._is_open:
                self._end(Failed(self.order.job_id, code, text))

    def drop(self) -> None:
        """End the job because it was cancelled."""
        with self._lock:
            if self._is_open:
                self._end(Dropped(self.order.job_id))

    def _end(self, outcome: Completed | Failed | Dropped) -> None:
        self._is_open = False
        self._emit(outcome)
