"""A job inside the engine: its outcomes leave through this one object, from any thread."""

from threading import Lock

from engine_worker.port import Completed, Dropped, Emit, Failed, ImageEncoded, Mapped, Previewed, Stepped
from kernel.protocol.enums import Stage
from kernel.protocol.specs import JobOrder


class OpenJob:
    """An admitted job. It is open until its one final outcome, and emits nothing after that.

    Another thread may detect a control map or encode an image while the main thread cancels the job; a lock
    decides which comes first.
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

    def begin_preparing(self) -> None:
        """Report that work which precedes the first step has begun."""
        with self._lock:
            if self._is_open:
                self._emit(Stepped(self.order.job_id, self._steps_done, self._steps, Stage.PREPARING))

    def mapped(self, drawn: Mapped) -> None:
        """Emit a control map that a detector has made for this job."""
        with self._lock:
            if self._is_open:
                self._emit(drawn)

    def step_done(self, images: int) -> None:
        """Report that this number of the job's images have made a step together."""
        with self._lock:
            self._steps_done += images
            if self._is_open:
                self._emit(Stepped(self.order.job_id, self._steps_done, self._steps))

    def preview(self, index: int, data: bytes) -> None:
        """Emit a preview of one of its images, a small JPEG file."""
        with self._lock:
            if self._is_open:
                self._emit(Previewed(self.order.job_id, index, self._steps_done, data))

    def come_to(self, stage: Stage) -> None:
        """Enter a later stage with one of its images. The stage is the job's once no image has steps left."""
        with self._lock:
            is_news = self._steps_done >= self._steps and stage is not self._stage
            if self._is_open and is_news:
                self._stage = stage
                self._emit(Stepped(self.order.job_id, self._steps_done, self._steps, stage))

    def warn(self, text: str) -> None:
        """Add a warning, once, which is emitted with the job's completion."""
        with self._lock:
            if text not in self._warnings:
                self._warnings += (text,)

    def image_done(self, image: ImageEncoded) -> None:
        """Emit a finished image; the last one completes the job."""
        with self._lock:
            if not self._is_open:
                return
            self._emit(image)
            self._images_missing -= 1
            if not self._images_missing:
                self._end(Completed(self.order.job_id, self._warnings))

    def fail(self, code: str, text: str) -> None:
        """End the job without its remaining images."""
        with self._lock:
            if self._is_open:
                self._end(Failed(self.order.job_id, code, text))

    def drop(self) -> None:
        """End the job because it was canceled."""
        with self._lock:
            if self._is_open:
                self._end(Dropped(self.order.job_id))

    def _end(self, outcome: Completed | Failed | Dropped) -> None:
        self._is_open = False
        self._emit(outcome)
