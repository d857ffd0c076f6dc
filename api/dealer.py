"""The API's one socket: a DEALER with CURVE to the Manager's front, and what happens on its line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zmq
import zmq.auth
from zmq.utils.monitor import recv_monitor_message

from kernel.protocol.codec import MAX_FRAME_BYTES, Frame
from kernel.protocol.endpoints import ClientRole, front_endpoint, secret_key_file, server_key_file
from kernel.protocol.errors import BadConfiguration

HIGH_WATER_MARK: Final = 10_000
"""Messages: far above the window of 64 commands, for the changes of a busy Manager."""
# Plain numbers: pyzmq's enums cost more than the messages do.
_NOW: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.SNDMORE) | _NOW


class Dealer:
    """Owned by one thread. Opened with the keys as they lie in the bus folder at that moment.

    Raises: BadConfiguration, if they are not there, or damaged.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", bus_folder: Path) -> None:
        public_key, secret_key = _certificate(secret_key_file(bus_folder, ClientRole.API))
        if secret_key is None:
            raise BadConfiguration(f"{secret_key_file(bus_folder, ClientRole.API)} has no secret key")
        server_key, _ = _certificate(server_key_file(bus_folder))
        self.socket = context.socket(zmq.DEALER)
        try:
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, public_key)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, secret_key)
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, server_key)
        except zmq.ZMQError as error:
            self.socket.close()
            raise BadConfiguration(f"the keys in {bus_folder} are damaged ({error})") from error
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)  # without a Manager a send fails, and is tried again later
        self.socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self.socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
        self.line = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        """Readable when the line to a Manager has been established, for the first time or again."""
        self.socket.connect(front_endpoint(bus_folder))

    def send(self, frames: list[Frame]) -> bool:
        """Send one message; False, if there is no line to send it on."""
        try:
            for frame in frames[:-1]:
                self.socket.send(frame, _MORE)
            self.socket.send(frames[-1], _NOW)
        except zmq.Again:  # at the first frame alone: a message that is begun is taken whole
            return False
        return True

    def received(self, limit: int) -> Iterator[list[bytes]]:
        """The messages that are there now, at most so many."""
        for _ in range(limit):
            try:
                part = self.socket.recv(_NOW, copy=False)
            except zmq.Again:
                return
            frames = [part.bytes]
            while part.more:
                part = self.socket.recv(_NOW, copy=False)
                frames.append(part.bytes)
            yield frames

    def is_reconnected(self) -> bool:
        """True once after each time that the line has been established."""
        found = False
        while self.line.poll(0):
            recv_monitor_message(self.line)
            found = True
        return found

    def close(self) -> None:
        self.line.close()
        self.socket.disable_monitor()
        self.socket.close()


def _certificate(file: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(file)
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"cannot read {file}: is the Manager running? ({error})") from error
