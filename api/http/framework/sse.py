"""Server-sent events (HTML Living Standard, section 9.2): their encoding, and the life of a stream."""

import logging
from collections.abc import Iterator
from typing import Final

import falcon
import msgspec

from api.http.contract.errors import TooManyStreams
from api.http.framework.concurrency_limit import ConcurrencyLimit
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
MAX_SEQ: Final = 2**63 - 1

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


class Stream:
    """The iterator of a response body: it holds a slot and a subscription until it is closed."""

    def __init__(self, frames: Iterator[bytes], ear: Subscription, slots: ConcurrencyLimit) -> None:
        self._frames = frames
        self._ear = ear
        self._streams = slots
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._frames)
        except SpoonError as error:  # the head is sent, so the stream can only end; clients reconnect
            _log.warning(line("end_stream", code=error.code, detail=error.detail))
            raise StopIteration from None

    def close(self) -> None:
        """Called by the server at the end; a repeated call has no effect."""
        if self._is_open:
            self._is_open = False
            self._ear.close()
            self._streams.give_back()


def take_stream_slot(slots: ConcurrencyLimit) -> None:
    """Take one of the slots for streams.

    Raises: TooManyStreams, if none is free.
    """
    if not slots.take():
        raise TooManyStreams(
            f"all {slots.limit} event streams are in use: poll instead, or try again later", retry_after_s=5.0
        )


def describe(resp: falcon.Response) -> None:
    """Set the headers of a stream."""
    resp.content_type = CONTENT_TYPE
    resp.set_header("Cache-Control", "no-store")
    resp.set_header("X-Accel-Buffering", "no")
