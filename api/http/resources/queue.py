"""/v1/queue: the queues of all engines together"""

from datetime import datetime

import falcon
import msgspec

from api.http.contract.responses import moment_or_none, send
from api.port import BusPort
from kernel.protocol.client import Done, PauseQueue, ResumeQueue
from kernel.views.counts import count_queue
from kernel.views.reader import Reader


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """The open jobs of all engines, and whether all queues are paused; single ones may be paused, too."""

    waiting: int
    processing: int
    paused: bool
    paused_since: datetime | None


class Queue:
    """Show, pause and resume the queues of all engines."""

    def __init__(self, bus: BusPort, reader: Reader) -> None:
        self._bus = bus
        self._reader = reader

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        row = count_queue(self._reader)
        shown = QueueState(
            waiting=row.waiting,
            processing=row.processing,
            paused=row.paused_since_ms is not None,
            paused_since=moment_or_none(row.paused_since_ms),
        )
        send(resp, 200, shown)

    def pause(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._bus.ask(PauseQueue(), Done)
        self.show(req, resp)

    def resume(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._bus.ask(ResumeQueue(), Done)
        self.show(req, resp)
