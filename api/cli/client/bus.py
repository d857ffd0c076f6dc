"""The administrator's connection to the Manager: one request at a time over the bus, resent if needed."""

import hashlib
import time
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
import zmq

from kernel.process.dealer import DealerContext, DealerOptions
from kernel.process.keys import open_front
from kernel.protocol import codec
from kernel.protocol.client import Ask, BrokerReply, Command, GetStatus, Refused
from kernel.protocol.endpoints import ClientRole
from kernel.protocol.errors import BadConfiguration, BadMessage, ManagerUnreachable
from kernel.protocol.refusals import error_of
from kernel.protocol.status import Status
from kernel.protocol.uuid7 import Uuid7

_RESEND_S: Final = 1.0
TIMEOUT_S: Final = 5.0


class ManagerConnection:
    """A DEALER with the key of the role `admin`. Used from one thread."""

    def __init__(self, bus_folder: Path) -> None:
        """Connect with the keys of the folder.

        Raises: ManagerUnreachable, if this user can read none; BadConfiguration, if they are damaged.
        """
        self._ids = Uuid7()
        self._replies = codec.reply_decoder()
        self._context: DealerContext = zmq.Context()
        try:
            self._dealer = open_front(self._context, bus_folder, ClientRole.ADMIN, DealerOptions())
        except OSError as error:
            self._context.term()
            raise ManagerUnreachable(
                f"no Manager found: this user can read no keys in {bus_folder}; start the server with "
                "`spoon serve`, or pass its configuration with --config"
            ) from error
        except BadConfiguration:
            self._context.term()
            raise

    def __enter__(self) -> "ManagerConnection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dealer.close()
        self._context.term()

    def status(self, timeout_s: float = TIMEOUT_S) -> Status:
        """The Manager's status. Raises: ManagerUnreachable."""
        reply = self._exchange(GetStatus(), timeout_s)
        if not isinstance(reply, Status):
            raise BadMessage(
                f"unexpected reply from the Manager: {type(reply).__name__} instead of its status"
            )
        return reply

    def ask(self, ask: Ask, timeout_s: float = TIMEOUT_S) -> BrokerReply:
        """Send a request that takes effect once, however often it has to be resent.

        Raises: ManagerUnreachable; the error that the Manager's refusal represents.
        """
        digest = hashlib.sha256(msgspec.msgpack.encode(ask)).digest()
        return self._exchange(Command(key=f"admin:{self._ids.text()}", digest=digest, ask=ask), timeout_s)

    def _exchange(self, message: Command | GetStatus, timeout_s: float) -> BrokerReply:
        correlation = self._ids.bytes()
        end = time.monotonic() + timeout_s
        while (left_s := end - time.monotonic()) > 0:
            # Without a Manager the message is dropped, and sent again later.
            self._dealer.send(codec.encode(message, correlation))
            reply = self._reply_to(correlation, min(_RESEND_S, left_s))
            if isinstance(reply, Refused):
                raise error_of(reply)
            if reply is not None:
                return reply
        raise ManagerUnreachable(
            "the Manager does not answer; if it is not running, start it with `spoon serve`"
        )

    def _reply_to(self, correlation: bytes, wait_s: float) -> BrokerReply | None:
        end = time.monotonic() + wait_s
        while self._dealer.socket.poll(max(0, int((end - time.monotonic()) * 1000))):
            for frames in self._dealer.received(limit=1):
                received = self._replies.decode(frames)
                if received.head.correlation == correlation:
                    return received.body
        return None
