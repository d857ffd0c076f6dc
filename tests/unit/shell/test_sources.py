"""What comes off the sockets and is no message."""

from kernel.core.events import ReportUnreadable
from kernel.protocol import codec, worker
from kernel.protocol.enums import WorkerRole
from kernel.protocol.ids import Epoch, WorkerId
from kernel.shell.bus import Incoming
from kernel.shell.decode import BackDoor
from kernel.shell.sources import Sources
from kernel.shell.worker_registry import WorkerRegistry


class OneMessage:
    """A socket on which one message has come, and which takes what is sent."""

    def __init__(self, frames):
        self._incoming = [Incoming(b"peer", "w1-1", tuple(frames))]

    def receive(self):
        return self._incoming.pop() if self._incoming else None

    def send(self, place, frames):
        return True


class LetIn(WorkerRegistry):
    """A crew in which each worker has its role."""

    def __init__(self, back, role):
        super().__init__(back=back, gate=None, launcher=None, terms=None, epoch=Epoch(1))
        self._roles[WorkerId("w1-1")] = role


def taken(frames, role=WorkerRole.FETCH):
    """The events that follow from a worker's message."""
    others = dict.fromkeys(("front", "gate", "launcher", "files", "signals", "front_door"))
    back = OneMessage(frames)
    sources = Sources(back=back, registry=LetIn(back, role), back_door=BackDoor(), **others)
    arrivals = []
    assert sources._take_back(arrivals)
    return [arrival.event for arrival in arrivals]


def test_a_workers_message_that_cannot_be_read_is_told_with_the_reason():
    frames = codec.encode(worker.EngineFailed(engine_id="e", code="c", text="t"))
    (event,) = taken(frames)
    assert isinstance(event, ReportUnreadable)
    assert event.worker_id == "w1-1"
    assert "cannot be decoded" in event.reason


def test_a_worker_of_another_version_is_refused_and_is_no_event():
    head, body = codec.encode(worker.Ping())
    head = head[:3] + bytes([99]) + head[4:]
    assert taken([head, body]) == []
