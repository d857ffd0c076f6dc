"""A rough picture of a job that is still being made, on its way from the bus to those who watch."""

from dataclasses import dataclass

from kernel.protocol.ids import JobId


@dataclass(frozen=True, slots=True)
class Preview:
    """How one picture of a job looks after so many steps: `data` is a small JPEG file."""

    job_id: JobId
    index: int
    step: int
    data: bytes
