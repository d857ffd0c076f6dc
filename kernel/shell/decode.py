"""Decodes messages of the two sockets to events of the core, with one decoder for each role."""

from collections import Counter
from dataclasses import dataclass, field

from msgspec import Struct

from kernel.core.events import Asked, EnrollAsked, Event, Peer, Reported, StatusAsked, WatchAsked
from kernel.protocol import client, codec, header, worker
from kernel.protocol.codec import MAX_ENROLL_BYTES, MAX_PREVIEW_BYTES, Frame
from kernel.protocol.endpoints import ClientRole
from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadMessage, InvalidField
from kernel.protocol.ids import Epoch, WorkerId
from kernel.shell.bus import Incoming


class Arrival(Struct, frozen=True):
    """An event from the bus, with the blobs that came with it."""

    event: Event
    blobs: tuple[Frame, ...] = ()


@dataclass(slots=True)
class FrontDoor:
    """Decodes the messages of clients."""

    epoch: Epoch
    version: str
    pid: int
    takers: set[bytes]
    """The clients whose Watch has `takes_bundles`."""
    _api: codec.Decoder[client.ApiMessage] = field(default_factory=codec.api_decoder)
    _admin: codec.Decoder[client.ClientMessage] = field(default_factory=codec.admin_decoder)

    def read(self, incoming: Incoming, unanswered: Counter[bytes]) -> Arrival:
        """One message as an event. `unanswered` counts this batch's commands by peer.

        Raises: BadMessage.
        """
        decoder = self._admin if incoming.name == ClientRole.ADMIN else self._api
        received = decoder.decode(incoming.frames)
        peer, correlation = Peer(incoming.peer), received.head.correlation
        match received.body:
            case client.Command(key=key, digest=digest, ask=ask):
                pass
            case client.ApiCommand(key=key, digest=digest, ask=ask):
                pass
            case client.Watch(takes_bundles=takes_bundles):
                (self.takers.add if takes_bundles else self.takers.discard)(incoming.peer)
                return Arrival(WatchAsked(peer, correlation))
            case client.Unwatch():
                return Arrival(WatchAsked(peer, correlation, is_on=False))
            case client.GetStatus():
                return Arrival(StatusAsked(peer, correlation, self.version, self.pid))
        unanswered[incoming.peer] += 1
        asked = Asked(
            peer,
            correlation,
            key,
            digest,
            ask,
            unanswered=unanswered[incoming.peer],
            blob_bytes=tuple(map(len, received.blobs)),
            is_of_admin=incoming.name == ClientRole.ADMIN,
        )
        return Arrival(asked, received.blobs)


def refusal(incoming: Incoming, error: BadMessage) -> tuple[bytes, client.Refused]:
    """The reply to a message that cannot be decoded, with its correlation if the header can be."""
    correlation = header.NO_CORRELATION
    if incoming.frames:
        try:
            correlation = header.unpack(incoming.frames[0]).correlation
        except BadMessage:
            correlation = header.NO_CORRELATION
    code = InvalidField.code if error.fields else error.code
    return correlation, client.Refused(code=code, detail=error.detail, fields=error.fields)


def _check_size(report: worker.ImageReady | worker.ControlMap, blobs: tuple[Frame, ...]) -> None:
    """Check the announced size of an image, which is stored and added up.

    Raises: BadMessage.
    """
    if blobs and len(blobs[0]) != report.size_bytes:
        raise BadMessage(f"the image has {len(blobs[0])} bytes, not {report.size_bytes}")


@dataclass(slots=True)
class BackDoor:
    """Decodes the messages of workers."""

    _engine: codec.Decoder[worker.EngineReport] = field(default_factory=codec.engine_decoder)
    _fetch: codec.Decoder[worker.FetchReport] = field(default_factory=codec.fetch_decoder)
    _stranger: codec.Decoder[worker.Enroll] = field(default_factory=codec.stranger_decoder)

    def read_stranger(self, incoming: Incoming) -> Arrival:
        """The one message that a stranger may send.

        Raises: BadMessage, if it is another one, or longer than MAX_ENROLL_BYTES.
        """
        if sum(map(len, incoming.frames)) > MAX_ENROLL_BYTES:
            raise BadMessage("a worker that has not enrolled may only enroll")
        received = self._stranger.decode(incoming.frames)
        return Arrival(EnrollAsked(incoming.name, incoming.peer, received.body))

    def read(self, incoming: Incoming, role: WorkerRole, worker_id: WorkerId) -> Arrival:
        """One message as an event, with its blobs.

        Raises: BadMessage, also for a preview that is too large, and for an image whose size differs from the
        announced one.
        """
        received: codec.Received[worker.EngineReport] | codec.Received[worker.FetchReport]
        if role is WorkerRole.ENGINE:
            received = self._engine.decode(incoming.frames)
        else:
            received = self._fetch.decode(incoming.frames)
        if isinstance(received.body, worker.Preview) and sum(map(len, received.blobs)) > MAX_PREVIEW_BYTES:
            raise BadMessage(f"a preview must have at most {MAX_PREVIEW_BYTES} bytes")
        if isinstance(received.body, worker.ImageReady | worker.ControlMap):
            _check_size(received.body, received.blobs)
        reported = Reported(worker_id, received.body, has_blob=bool(received.blobs))
        return Arrival(reported, received.blobs)
