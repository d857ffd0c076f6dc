"""Frames to messages and back: the one place where bytes from a peer become typed values."""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

import msgspec

from kernel.protocol import client, header, worker
from kernel.protocol.error_texts import in_words
from kernel.protocol.errors import BadMessage, FieldProblem
from kernel.protocol.ids import NO_EPOCH, Epoch

Message = TypeVar("Message", covariant=True)
Frame = bytes | memoryview

MAX_BODY_BYTES: Final = 4 << 20
"""The longest body: a job of the longest prompts stays below 1 MiB."""
MAX_BLOBS: Final = 16
MAX_BLOB_BYTES: Final = 256 << 20
"""The longest blob: a 8192 x 8192 RGBA picture without any compression."""
MAX_PREVIEW_BYTES: Final = 1 << 20
"""The longest preview: a JPEG of some 256 x 256 pixels has a hundredth of that."""
MAX_REASON: Final = 500
"""Characters of why a body cannot be read: the reason may quote it."""
_ASKED: Final = re.compile(r"\.ask\.(request\.|spec\.)?")
"""What holds the fields of a command: they are named as if they were its own."""
MAX_MESSAGE_BYTES: Final = 512 << 20
MAX_FRAMES: Final = 2 + MAX_BLOBS
MAX_FRAME_BYTES: Final = MAX_BLOB_BYTES
"""What ZMQ_MAXMSGSIZE is set to: libzmq then hangs up on a peer that sends a longer frame."""


class Received(msgspec.Struct, Generic[Message], frozen=True):
    """One message as it came off the wire, its blobs untouched."""

    head: header.Head
    body: Message
    blobs: tuple[Frame, ...]


class Decoder(Generic[Message]):
    """Turns frames into messages of one union, and into nothing else."""

    def __init__(self, union: object) -> None:
        self._body: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(union)

    def decode(self, frames: Sequence[Frame]) -> Received[Message]:
        """Check the head, then the sizes, then read the body.

        Raises: BadMessage, if any frame is wrong; WrongVersion, if the peer's major version differs.
        """
        if not 2 <= len(frames) <= MAX_FRAMES:
            raise BadMessage(f"a message must have 2 to {MAX_FRAMES} frames, not {len(frames)}")
        found = header.unpack(frames[0])
        if found.blob_count != len(frames) - 2:
            raise BadMessage(f"the head announces {found.blob_count} blobs, but {len(frames) - 2} arrived")
        if len(frames[1]) > MAX_BODY_BYTES:
            raise BadMessage(f"the body has {len(frames[1])} bytes; the limit is {MAX_BODY_BYTES}")
        if sum(map(len, frames)) > MAX_MESSAGE_BYTES:
            raise BadMessage(f"the message has more than {MAX_MESSAGE_BYTES} bytes")
        try:
            body = self._body.decode(frames[1])
        except msgspec.ValidationError as error:
            raise _unreadable(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadMessage(f"the body cannot be decoded: {str(error)[:MAX_REASON]}") from error
        return Received(found, body, tuple(frames[2:]))


def _unreadable(error: msgspec.ValidationError) -> BadMessage:
    """The error about a wrong value. In a command it names the field, as the REST API does."""
    path, problem = in_words(str(error)[:MAX_REASON])
    asked = _ASKED.match(path)
    if asked is None:
        return BadMessage(f"the body cannot be decoded: {path.lstrip('.')}: {problem}")
    field = path[asked.end() :]
    return BadMessage(f"{field}: {problem}", fields=(FieldProblem(field=field, problem=problem),))


_encoder: Final = msgspec.msgpack.Encoder()


def encode(
    message: msgspec.Struct,
    correlation: bytes = header.NO_CORRELATION,
    epoch: Epoch = NO_EPOCH,
    blobs: Sequence[Frame] = (),
) -> list[Frame]:
    """The frames of one message: head, body, then each blob as it is, uncopied."""
    return [header.pack(len(blobs), correlation, epoch), _encoder.encode(message), *blobs]


def admin_decoder() -> Decoder[client.ClientMessage]:
    """What the Manager reads from an administrator."""
    return Decoder(client.ClientMessage)


def api_decoder() -> Decoder[client.ApiMessage]:
    """What the Manager reads from an API process."""
    return Decoder(client.ApiMessage)


def reply_decoder() -> Decoder[client.BrokerReply]:
    """What a client reads from the Manager."""
    return Decoder(client.BrokerReply)


def unbundled(received: Received[client.BrokerReply]) -> list[Received[client.BrokerReply]]:
    """The messages of a bundle, each with its blobs as if it had come alone; of any other message, itself."""
    if not isinstance(received.body, client.Bundle):
        return [received]
    blobs = iter(received.blobs)
    return [
        Received(
            received.head._replace(blob_count=one.blobs, correlation=one.correlation),
            one.message,
            tuple(islice(blobs, max(one.blobs, 0))),
        )
        for one in received.body.messages
    ]


def engine_decoder() -> Decoder[worker.EngineReport]:
    """What the Manager reads from an engine worker."""
    return Decoder(worker.EngineReport)


def fetch_decoder() -> Decoder[worker.FetchReport]:
    """What the Manager reads from a fetch worker."""
    return Decoder(worker.FetchReport)


def order_decoder() -> Decoder[worker.WorkerOrder]:
    """What a worker reads from the Manager."""
    return Decoder(worker.WorkerOrder)
