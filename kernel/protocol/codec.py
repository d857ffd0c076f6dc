"""Encodes and decodes messages: the only place where a peer's bytes become typed values."""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

import msgspec

from kernel.protocol import client, header, worker
from kernel.protocol.error_texts import in_words
from kernel.protocol.errors import BadMessage, FieldProblem
from kernel.protocol.ids import NO_EPOCH, Epoch
from kernel.protocol.type_info import analyzed

Message = TypeVar("Message", covariant=True)
Frame = bytes | memoryview

MAX_BODY_BYTES: Final = 4 << 20
"""The longest body: a job with the longest prompts stays below 1 MiB."""
MAX_BLOBS: Final = 16
MAX_BLOB_BYTES: Final = 256 << 20
"""The longest blob: an uncompressed 8192 x 8192 RGBA image."""
MAX_PREVIEW_BYTES: Final = 1 << 20
"""The longest preview: a JPEG of about 256 x 256 pixels has a hundredth of that."""
MAX_ENROLL_BYTES: Final = 512 << 10
"""The longest message of a worker that has not enrolled: with a thousand jobs it has a fifth of that."""
MAX_REASON: Final = 500
"""Characters of the reason why a body cannot be decoded, which may quote the body."""
_ASKED: Final = re.compile(r"\.ask\.(request\.|spec\.)?")
"""The path of a command's fields, which are named as if they were its own."""
MAX_MESSAGE_BYTES: Final = 512 << 20
MAX_FRAMES: Final = 2 + MAX_BLOBS
MAX_FRAME_BYTES: Final = MAX_BLOB_BYTES
"""The value of ZMQ_MAXMSGSIZE: libzmq disconnects a peer that sends a longer frame."""


class Received(msgspec.Struct, Generic[Message], frozen=True):
    """A decoded message with its blobs."""

    head: header.Head
    body: Message
    blobs: tuple[Frame, ...]


class Decoder(Generic[Message]):
    """Decodes frames to messages of one union only."""

    def __init__(self, union: object) -> None:
        self._body: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(analyzed(union))

    def decode(self, frames: Sequence[Frame]) -> Received[Message]:
        """Check the header, then the sizes, then decode the body.

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
    """The error for a wrong value. In a command it names the field, as the REST API does."""
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
    """The frames of one message: header, body, then each blob, uncopied."""
    return [header.pack(len(blobs), correlation, epoch), _encoder.encode(message), *blobs]


def admin_decoder() -> Decoder[client.ClientMessage]:
    """For messages of the role `admin`."""
    return Decoder(client.ClientMessage)


def api_decoder() -> Decoder[client.ApiMessage]:
    """For messages of the role `api`."""
    return Decoder(client.ApiMessage)


def reply_decoder() -> Decoder[client.BrokerReply]:
    """For the Manager's replies to a client."""
    return Decoder(client.BrokerReply)


def unbundled(received: Received[client.BrokerReply]) -> list[Received[client.BrokerReply]]:
    """The messages of a bundle, each with its blobs as if sent alone; for any other message, itself."""
    if not isinstance(received.body, client.Bundle):
        return [received]
    blobs = iter(received.blobs)
    return [
        Received(
            header.Head(received.head.minor, one.blobs, one.correlation, received.head.epoch),
            one.message,
            tuple(islice(blobs, max(one.blobs, 0))),
        )
        for one in received.body.messages
    ]


def engine_decoder() -> Decoder[worker.EngineReport]:
    """For reports of an engine worker."""
    return Decoder(worker.EngineReport)


def stranger_decoder() -> Decoder[worker.Enroll]:
    """For the message of a worker that has not enrolled."""
    return Decoder(worker.Enroll)


def fetch_decoder() -> Decoder[worker.FetchReport]:
    """For reports of a fetch worker."""
    return Decoder(worker.FetchReport)


def order_decoder() -> Decoder[worker.WorkerOrder]:
    """For the Manager's orders to a worker."""
    return Decoder(worker.WorkerOrder)
