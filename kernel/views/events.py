"""The numbered changes, oldest first, for watchers that catch up."""

from collections.abc import Sequence

import msgspec

from kernel.protocol.ids import EventSeq
from kernel.protocol.rows import ChangeRow
from kernel.views.reader import Reader
from kernel.views.rows import SeqRange


def events_after(reader: Reader, seq: EventSeq, limit: int) -> list[ChangeRow]:
    """Changes with a higher number than `seq`."""
    return reader.all("events_after", ChangeRow, {"seq": seq, "limit": limit})


def events_of(reader: Reader, ids: Sequence[str], seq: EventSeq, limit: int) -> list[ChangeRow]:
    """Changes of these ids with a higher number than `seq`."""
    wanted = msgspec.json.encode(list(ids)).decode()
    return reader.all("events_of", ChangeRow, {"ids": wanted, "seq": seq, "limit": limit})


def known_events(reader: Reader) -> SeqRange:
    """The range of numbers that the database still has."""
    return reader.one("event_range", SeqRange, {}) or SeqRange(EventSeq(0), EventSeq(0))
