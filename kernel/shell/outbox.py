"""What leaves for clients after a commit: one message each, or one for the whole batch to those who take it.

A client with many threads pays for every single message that it receives: each costs it its interpreter's
lock, for which its threads queue up (adr/0018). So what one batch has for such a client goes out as a Bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kernel.core.events import Peer
from kernel.protocol import client, codec
from kernel.protocol.ids import Epoch
from kernel.shell.bus import Router

MAX_BUNDLE: Final = 512
"""Messages in one bundle; the longest answer has a few kilobytes, the longest body 4 MiB."""


@dataclass(slots=True)
class Outbox:
    """Filled while effects are carried out, emptied at their end."""

    front: Router
    epoch: Epoch
    takers: set[bytes]
    """The clients that take bundles; the front door adds them."""
    _waiting: dict[Peer, list[client.Enclosed]] = field(default_factory=dict)

    def put(self, peer: Peer, correlation: bytes, message: client.SingleReply) -> None:
        """Send a message to a client, together with what else this batch has for it."""
        self._waiting.setdefault(peer, []).append(client.Enclosed(correlation=correlation, message=message))

    def flush(self) -> list[Peer]:
        """Let everything go. Returns: the clients that cannot be reached."""
        waiting, self._waiting = self._waiting, {}
        lost = [peer for peer, messages in waiting.items() if not self._send(peer, messages)]
        self.takers.difference_update(lost)
        return lost

    def _send(self, peer: Peer, messages: Sequence[client.Enclosed]) -> bool:
        if peer not in self.takers or len(messages) == 1:
            each = [codec.encode(one.message, one.correlation, self.epoch) for one in messages]
            return all(self.front.send(peer, frames) for frames in each)
        chunks = [messages[n : n + MAX_BUNDLE] for n in range(0, len(messages), MAX_BUNDLE)]
        bundles = [client.Bundle(messages=tuple(chunk)) for chunk in chunks]
        return all(self.front.send(peer, codec.encode(one, epoch=self.epoch)) for one in bundles)
