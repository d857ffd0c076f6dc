"""Messages for clients after a commit: one by one, or one bundle per batch for clients that accept it.

A client with many threads pays for every message that it receives with its interpreter's lock, for which its
threads queue up (adr/0018). So all messages of one batch to such a client are one Bundle.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from kernel.core.events import Peer
from kernel.protocol import client, codec
from kernel.protocol.codec import Frame
from kernel.protocol.ids import Epoch
from kernel.shell.bus import Router

MAX_BUNDLE: Final = 512
"""Messages in one bundle; the longest reply has a few kilobytes, the longest body 4 MiB."""


class Letter(Struct, frozen=True):
    """One message to one client, with its blobs."""

    correlation: bytes
    message: client.SingleReply
    blobs: tuple[Frame, ...] = ()


@dataclass(slots=True)
class Outbox:
    """Filled while effects are carried out, and flushed at their end."""

    front: Router
    epoch: Epoch
    takers: set[bytes]
    """The clients that accept bundles; the front door adds them."""
    _waiting: dict[Peer, list[Letter]] = field(default_factory=dict)

    def put(
        self, peer: Peer, correlation: bytes, message: client.SingleReply, blobs: tuple[Frame, ...] = ()
    ) -> None:
        """Send a message to a client, together with the batch's other messages to it."""
        self._waiting.setdefault(peer, []).append(Letter(correlation, message, blobs))

    def flush(self) -> list[Peer]:
        """Send everything. Returns: the clients that cannot be reached."""
        waiting, self._waiting = self._waiting, {}
        lost = [peer for peer, letters in waiting.items() if not self._send(peer, letters)]
        self.takers.difference_update(lost)
        return lost

    def _send(self, peer: Peer, letters: Sequence[Letter]) -> bool:
        if peer not in self.takers or len(letters) == 1:
            each = (codec.encode(one.message, one.correlation, self.epoch, one.blobs) for one in letters)
            return all(self.front.send(peer, frames) for frames in each)
        return all(self.front.send(peer, self._bundle(chunk)) for chunk in _chunks(letters))

    def _bundle(self, letters: Sequence[Letter]) -> list[Frame]:
        messages = tuple(
            client.Enclosed(correlation=one.correlation, message=one.message, blobs=len(one.blobs))
            for one in letters
        )
        blobs = [blob for one in letters for blob in one.blobs]
        return codec.encode(client.Bundle(messages=messages), epoch=self.epoch, blobs=blobs)


def _chunks(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Cut into bundles by the limits on messages and on blobs."""
    chunk: list[Letter] = []
    blobs = 0
    for letter in letters:
        blobs += len(letter.blobs)
        if len(chunk) == MAX_BUNDLE or blobs > codec.MAX_BLOBS:
            yield chunk
            chunk, blobs = [], len(letter.blobs)
        chunk.append(letter)
    yield chunk
