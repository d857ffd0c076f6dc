"""Where jobs wait until what they bring along is read and drawn, while the steps of others go on.

Three lanes, a thread each: one reads the texts of prompts, which takes compel a second for a long one; one
loads models and decodes pictures, which takes seconds; and one draws control maps, which takes minutes on a
CPU. A job goes only to those that have something to do for it. On a GPU they work in the stream of the steps,
so that what they hand over is written before a step reads it.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

import torch

from engine_worker.engine.failures import fail_job
from engine_worker.engine.line import Admission
from engine_worker.engine.materials import (
    Materials,
    is_at_hand,
    is_to_be_drawn,
    read_materials,
    with_controls,
)
from engine_worker.engine.open_job import OpenJob
from engine_worker.engine.patient_lane import PatientLane
from engine_worker.engine.port import Inputs, Wake
from engine_worker.engine.workshop import Workshop
from kernel.protocol.errors import JobBroke

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 540.0
"""For one job in one lane. Less than the 600 s after which the Manager wants the job dropped
(engines.load_timeout), so that it fails with a reason and is not tried twice more."""


@dataclass(frozen=True, slots=True, eq=False)
class Guest:
    """A job that is being prepared."""

    admission: Admission
    job: OpenJob
    inputs: Inputs


@dataclass(frozen=True, slots=True, eq=False)
class _Drawing:
    guest: Guest
    materials: Materials


@dataclass(frozen=True, slots=True)
class _Lanes:
    wording: PatientLane[Guest]
    reading: PatientLane[Guest]
    drawing: PatientLane[_Drawing]


class Anteroom:
    """Reads and draws what jobs need. All methods are for the stepping thread."""

    def __init__(self, workshop: Workshop, wake: Wake, patience_s: float = PATIENCE_S) -> None:
        self._workshop = workshop
        self._wake = wake
        self._patience_s = patience_s
        self._ready: SimpleQueue[tuple[Guest, Materials]] = SimpleQueue()
        self._lanes: _Lanes | None = None
        self._broken: torch.AcceleratorError | None = None
        self._is_closed = False

    def enter(self, guest: Guest) -> None:
        """Prepare a job; returns at once. `wake` is called when it is ready, or has failed."""
        guest.job.prepares()
        lanes = self._started()
        has_words = self._workshop.conditioner.has_words(guest.job.order)
        (lanes.reading if has_words else lanes.wording).put(guest)

    def take_ready(self) -> Iterator[tuple[Guest, Materials]]:
        """The jobs that are ready, each once.

        Raises: torch.AcceleratorError, if the device broke while one was prepared.
        """
        if self._broken is not None:
            raise self._broken
        while True:
            try:
                yield self._ready.get_nowait()
            except Empty:
                return

    def close(self) -> None:
        """Wait for the work at hand; what has not begun is let go."""
        self._is_closed = True
        if self._lanes is not None:
            # In the order in which they hand over to each other.
            self._lanes.wording.close()
            self._lanes.reading.close()
            self._lanes.drawing.close()

    def _started(self) -> _Lanes:
        if self._lanes is None:
            self._lanes = _Lanes(
                wording=PatientLane("parser", self._word, self._give_up_wording, self._patience_s),
                reading=PatientLane("reader", self._read, self._give_up_reading, self._patience_s),
                drawing=PatientLane("detector", self._draw, self._give_up_drawing, self._patience_s),
            )
        return self._lanes

    # What the lanes do. Each of these is the border of one job: its error must not harm another.

    @torch.inference_mode()
    def _word(self, guest: Guest) -> None:
        if self._is_wanted(guest):
            try:
                self._word_wanted(guest)
            except Exception as error:  # noqa: BLE001 - the border of one job
                self._fail(guest, error)

    def _word_wanted(self, guest: Guest) -> None:
        order = guest.job.order
        self._workshop.conditioner.read(order)
        if is_at_hand(self._workshop, order, guest.inputs):
            self._read_wanted(guest)
        else:
            self._started().reading.put(guest)

    @torch.inference_mode()
    def _read(self, guest: Guest) -> None:
        if self._is_wanted(guest):
            try:
                self._read_wanted(guest)
            except Exception as error:  # noqa: BLE001 - the border of one job
                self._fail(guest, error)

    def _read_wanted(self, guest: Guest) -> None:
        materials = read_materials(self._workshop, guest.job.order, guest.inputs)
        if is_to_be_drawn(guest.job.order.spec):
            self._started().drawing.put(_Drawing(guest, materials))
        else:
            self._is_ready(guest, with_controls(self._workshop, guest.job, guest.inputs, materials))

    @torch.inference_mode()
    def _draw(self, work: _Drawing) -> None:
        guest = work.guest
        if self._is_wanted(guest):
            guest.job.prepares()
            try:
                self._is_ready(guest, with_controls(self._workshop, guest.job, guest.inputs, work.materials))
            except Exception as error:  # noqa: BLE001 - the border of one job
                self._fail(guest, error)

    def _is_wanted(self, guest: Guest) -> bool:
        return guest.job.is_open and not self._is_closed and self._broken is None

    def _is_ready(self, guest: Guest, materials: Materials) -> None:
        self._ready.put((guest, materials))
        self._wake()

    def _fail(self, guest: Guest, error: Exception) -> None:
        try:
            fail_job(guest.job, error)
        except torch.AcceleratorError as broken:
            self._broken = broken
        self._wake()

    def _give_up_wording(self, guest: Guest, is_at_hand: bool) -> None:
        self._give_up(guest, "encoding the prompts", is_at_hand)

    def _give_up_reading(self, guest: Guest, is_at_hand: bool) -> None:
        self._give_up(guest, "loading models and decoding images", is_at_hand)

    def _give_up_drawing(self, work: _Drawing, is_at_hand: bool) -> None:
        self._give_up(work.guest, "drawing control maps", is_at_hand)

    def _give_up(self, guest: Guest, what: str, is_at_hand: bool) -> None:
        whose = "it" if is_at_hand else "another job ahead of it"
        text = f"preparing the job timed out: {what} for {whose} took longer than {self._patience_s:.0f} s"
        _log.warning("action=preparing_given_up job_id=%s what=%r", guest.job.order.job_id, what)
        guest.job.fail(JobBroke.code, text)
        self._wake()
