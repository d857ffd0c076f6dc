"""Images and maps that were sent but may not be durable yet: kept, and sent again until acknowledged."""

from dataclasses import dataclass

from engine_worker.session.actions import Send
from kernel.protocol.enums import ControlType
from kernel.protocol.ids import JobId, Lease
from kernel.protocol.worker import ControlMap, ImageReady

Place = int | ControlType
"""The index of a job's image, or the type of its control map."""


@dataclass(slots=True)
class _Kept:
    job_id: JobId
    send: Send
    due_at: float
    wait_s: float


class UnstoredImages:
    """The images that only this worker has."""

    def __init__(self, resend_s: float) -> None:
        self._resend_s = resend_s
        self._kept: dict[tuple[Lease, Place], _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, ready: ImageReady | ControlMap, file: bytes, now: float) -> Send:
        """Keep the image until it is stored; send it for the first time."""
        send = Send(ready, file)
        place = ready.index if isinstance(ready, ImageReady) else ready.control_type
        self._kept[ready.lease, place] = _Kept(ready.job_id, send, now + self._resend_s, self._resend_s)
        return send

    def claims(self) -> dict[JobId, Lease]:
        """The jobs that the images belong to, with the leases under which they were made."""
        return {kept.job_id: lease for (lease, _), kept in self._kept.items()}

    def send_all(self, now: float) -> list[Send]:
        """All of them again: what was sent before a connection was lost may not have arrived."""
        for kept in self._kept.values():
            kept.wait_s = self._resend_s
            kept.due_at = now + kept.wait_s
        return [kept.send for kept in self._kept.values()]

    def stored(self, lease: Lease, place: Place) -> None:
        """The Manager has stored it: free it."""
        self._kept.pop((lease, place), None)

    def forget(self, job_id: JobId, *, before: Lease) -> None:
        """Drop a job's images made under an older lease: they are not wanted any more."""
        self._kept = {
            key: kept for key, kept in self._kept.items() if kept.job_id != job_id or key[0] >= before
        }

    def due(self, now: float) -> list[Send]:
        """The images to send again. The interval doubles each time: a slow connection does not get faster by
        more of the same."""
        again = [kept for kept in self._kept.values() if now >= kept.due_at]
        for kept in again:
            kept.wait_s *= 2
            kept.due_at = now + kept.wait_s
        return [kept.send for kept in again]

    def next_deadline(self) -> float | None:
        """When the next image is sent again."""
        return min((kept.due_at for kept in self._kept.values()), default=None)
