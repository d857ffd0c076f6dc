"""The worker's socket, which never loses a message that it was given to send."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import zmq

from kernel.process.dealer import CurveKeys, Dealer, DealerContext, DealerOptions
from kernel.protocol.codec import Frame
from kernel.protocol.errors import BadConfiguration
from kernel.protocol.join import Join

HIGH_WATER_MARK: Final = 256
"""Messages that libzmq queues in each direction; further ones wait in `WorkerDealer`."""
MAX_RECEIVED_AT_ONCE: Final = 256
"""A limit, so that a peer that sends a lot cannot delay the deadlines."""
TCP_HEARTBEAT_MS: Final = (2_000, 6_000)
RECONNECT_MS: Final = (100, 0)
PATIENT_RECONNECT_MS: Final = (200, 5_000)
"""For a worker of a pool, which may wait for hours: doubled each time, and spread at random by libzmq."""


class WorkerDealer:
    """A queueing DEALER that belongs to one thread."""

    def __init__(self, context: DealerContext, join: Join) -> None:
        """Connect in the background.

        Raises: BadConfiguration, if the endpoint or a key is malformed.
        """
        self._linger_s = 0.0
        self._unsent: deque[Sequence[Frame]] = deque()
        texts = (join.server_public_key, join.public_key, join.secret_key)
        try:
            server, public, secret = (text.encode("ascii") for text in texts)
            self._dealer = Dealer(context, join.endpoint, CurveKeys(server, public, secret), _options(join))
        except (zmq.ZMQError, ValueError) as error:
            raise BadConfiguration("the ticket has an invalid endpoint or invalid keys") from error

    def register(self, poller: zmq.Poller) -> None:
        """Register the events that the thread must be woken for now."""
        wants = zmq.POLLIN | (zmq.POLLOUT if self._unsent else 0)
        poller.register(self._dealer.socket, wants)
        poller.register(self._dealer.monitor, zmq.POLLIN)

    def send(self, frames: Sequence[Frame]) -> None:
        """Queue a message for the next `flush`, in order: messages sent together cost both sides one
        wake-up."""
        self._unsent.append(frames)

    def flush(self) -> None:
        """Give the socket as many messages as it takes; the rest leaves with a later flush."""
        while self._unsent and self._dealer.send(self._unsent[0], copy=False):
            self._unsent.popleft()

    def receive(self) -> Iterator[list[bytes]]:
        """The messages that are there."""
        return self._dealer.received(MAX_RECEIVED_AT_ONCE)

    def is_key_refused(self) -> bool:
        """True once after the Manager's socket has refused our key."""
        return self._dealer.has_happened()

    def linger(self, linger_s: float) -> None:
        """Give sent messages this long to leave after `close`; ending the context waits for them."""
        self.flush()
        self._linger_s = linger_s

    def close(self) -> None:
        """Close, at once unless `linger` was called."""
        self._dealer.close(self._linger_s)


def _options(join: Join) -> DealerOptions:
    is_remote = join.endpoint.startswith("tcp://")
    return DealerOptions(
        high_water_mark=HIGH_WATER_MARK,
        reconnect_ms=PATIENT_RECONNECT_MS if join.enrolls else RECONNECT_MS,
        heartbeat_ms=TCP_HEARTBEAT_MS if is_remote else None,
        watched=zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    )
