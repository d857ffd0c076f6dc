"""The fixed binary frame before every body: protocol version, blob count, correlation and epoch."""

from struct import Struct
from typing import Final, NamedTuple

from kernel.protocol.errors import BadMessage, WrongVersion
from kernel.protocol.ids import Epoch

MAGIC: Final = b"ASB"
MAJOR: Final = 2
MINOR: Final = 0

_LAYOUT: Final = Struct("!3sBBB16sQ")
SIZE_BYTES: Final = _LAYOUT.size
NO_CORRELATION: Final = bytes(16)


class Head(NamedTuple):
    """The header of one message.

    `correlation` is the 16-byte UUIDv7 of the command that is sent or answered, or zeros for a message that
    belongs to no command. `epoch` is the Manager's start number as the sender knows it, 0 while unknown.
    """

    minor: int
    blob_count: int
    correlation: bytes
    epoch: Epoch


def pack(blob_count: int, correlation: bytes, epoch: Epoch) -> bytes:
    """The header frame of a message of this version."""
    return _LAYOUT.pack(MAGIC, MAJOR, MINOR, blob_count, correlation, epoch)


def unpack(frame: bytes | memoryview) -> Head:
    """Decode a header frame, before the body is touched.

    Raises: BadMessage, if it is malformed; WrongVersion, if its major version is not ours.
    """
    if len(frame) != SIZE_BYTES:
        raise BadMessage(f"the head must have {SIZE_BYTES} bytes, not {len(frame)}")
    magic, major, minor, blob_count, correlation, epoch = _LAYOUT.unpack(frame)
    if magic != MAGIC:
        raise BadMessage("the head must begin with ASB")
    if major != MAJOR:
        raise WrongVersion(f"the peer speaks ASB/{major}, but this side speaks ASB/{MAJOR}")
    return Head(min(minor, MINOR), blob_count, correlation, Epoch(epoch))
