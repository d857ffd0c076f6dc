"""The numbered changes, oldest first: what a watcher reads to catch up."""

from collections.abc import Sequence

import msgspec

from kernel.protocol.ids import EventSeq
from kernel.protocol.rows import ChangeRow
from kernel.views.reader import Reader
from kernel.views.rows import SeqRange


def events_after(reader: Reader, seq: EventSeq, limit: int) -> list[ChangeRow]:
    """Changes of anything with a higher number than `seq`."""
    return reader.all("events_after", ChangeRow, {"seq": seq, "limit": limit})


def events_of(reader: Reader, ids: Sequence[str], seq: EventSeq, limit: int) -> list[ChangeRow]:
    """Changes of these things with a higher number than `seq`."""
    wanted = msgspec.json.encode(list(ids)).decode()
    return reader.all("events_of", ChangeRow, {"ids": wanted, "seq": seq, "limit": limit})


def known_events(reader: Reader) -> SeqRange:
    """Which numbers the database still knows."""
    return reader.one("event_range", SeqRange, {}) or SeqRange(EventSeq(0), EventSeq(0))
