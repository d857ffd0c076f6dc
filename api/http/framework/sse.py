"""Server-sent events (HTML Living Standard, section 9.2): their encoding, and the life of a stream.

A stream is a generator of frames that never waits: where nothing is to be sent now it yields PAUSE, and it
goes on when the stream's bell has rung, or after KEEP_ALIVE_S. It is asked for more only when the client has
taken what it was sent, so a slow reader costs one part of memory, and what it misses meanwhile is read from
the database (adr/0062).
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from math import inf
from typing import Final

import falcon
import msgspec

from api.http.contract.errors import TooManyStreams
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.connection_limits import origin_of
from api.http.framework.deferral import Bell, Part
from api.http.framework.generated_body import GeneratedBody
from api.http.framework.thread_pools import Pool
from api.hub import Subscription
from kernel.process.log import line
from kernel.protocol.errors import SpoonError, wrong_field
from kernel.protocol.ids import EventSeq

CONTENT_TYPE: Final = "text/event-stream"
LAST_EVENT_ID: Final = "Last-Event-ID"
KEEP_ALIVE_S: Final = 5.0
"""A comment at this interval keeps proxies from disconnecting, and shows whether the client is still
there."""
KEEP_ALIVE: Final = b": keep-alive\n\n"
RETRY: Final = b"retry: 2000\n\n"
PAUSE: Final = b""
"""What a generator of frames yields when nothing is to be sent now."""
TAKEN: Final = b"\0"
"""What it yields to go on only when the client has taken the frames before."""
PART_BYTES: Final = 64 << 10
"""Frames are sent together up to this size; other streams have their turn before the rest."""
MAX_SEQ: Final = 2**63 - 1

Frames = Generator[bytes, None, None]

_log = logging.getLogger("spoon.api.sse")


def frame(event: str, payload: msgspec.Struct, seq: EventSeq | None = None) -> bytes:
    """One event; with `seq` it moves the client's Last-Event-ID."""
    number = b"" if seq is None else b"id: %d\n" % seq
    return number + b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(payload))


def last_seen(req: falcon.Request) -> EventSeq | None:
    """The event after which the client wants to continue.

    Raises: InvalidField, if Last-Event-ID is not a number of this server.
    """
    text = req.get_header(LAST_EVENT_ID)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SEQ))):
        raise wrong_field(LAST_EVENT_ID, "must be the id of an event from this server")
    return EventSeq(min(int(text), MAX_SEQ))


def take_place(slots: ConcurrencyLimit, req: falcon.Request) -> Callable[[], None]:
    """Take a place among the streams for the client of a request. Returns: what gives it back.

    Raises: TooManyStreams, if none is free.
    """
    address = origin_of(req.remote_addr)
    if not slots.take(address):
        raise TooManyStreams(
            f"all {slots.limit} event streams, or one client's share, are in use: poll instead, or try later",
            retry_after_s=5.0,
        )
    return lambda: slots.give_back(address)


class Stream(GeneratedBody):
    """The body of a response; it has a place and a subscription until it is dropped."""

    def __init__(
        self,
        frames: Callable[[Subscription], Frames],
        subscribe: Callable[[Callable[[], None]], Subscription],
        leave: Callable[[], None],
        *,
        pool: Pool = Pool.PARKED,
        left_s: Callable[[], float] = lambda: inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`subscribe` gets what to call when there is something to read; `leave` gives the place back.

        `pool`: for frames that ask the Manager another one than this. `left_s`: for how long the key of the
        reader is valid; then the stream ends.
        """
        bell = Bell()
        ear = subscribe(bell.ring)

        def leave_place() -> None:
            ear.close()
            leave()

        super().__init__(frames(ear), leave_place, pool, bell)
        self._clock, self._left_s = clock, left_s
        self.until_s = self._next_look_s()

    def _next_part(self) -> Part:
        """The frames that are to be sent now; a comment, if there was nothing for long."""
        data = b"".join(self._together())
        is_silent = not data and not self._is_over
        if is_silent and self._clock() >= self.until_s:
            data = KEEP_ALIVE
        if data:
            self.until_s = self._next_look_s()
        return Part(data, self._is_over)

    def _next_look_s(self) -> float:
        """When to look again even if nothing happens: as soon as the key of the reader expires."""
        return self._clock() + max(0.0, min(KEEP_ALIVE_S, self._left_s()))

    def _together(self) -> Iterator[bytes]:
        """Frames up to the next pause, or until they are long enough."""
        size_bytes = 0
        if self._left_s() <= 0:  # clients come back, and are told why
            self._is_over = True
            return
        try:
            for frame in self._pieces:
                if frame == PAUSE:
                    return
                if frame != TAKEN:
                    yield frame
                    size_bytes += len(frame)
                if frame == TAKEN or size_bytes >= PART_BYTES:
                    self.bell.ring()
                    return
        except SpoonError as error:  # the head is sent, so the stream can only end; clients reconnect
            _log.warning(line("end_stream", code=error.code, detail=error.detail))
        self._is_over = True


def describe(resp: falcon.Response) -> None:
    """Set the headers of a stream."""
    resp.content_type = CONTENT_TYPE
    resp.set_header("Cache-Control", "no-store")
    resp.set_header("X-Accel-Buffering", "no")
