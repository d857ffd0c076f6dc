"""Whatever bytes a peer sends, they are a message or a BadMessage, and every message survives the way."""

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.protocol import client, codec, header
from kernel.protocol.errors import BadMessage
from kernel.protocol.ids import Epoch
from tests.unit.protocol.examples import ALL, MESSAGES

correlations = st.binary(min_size=16, max_size=16)
epochs = st.integers(0, 2**64 - 1).map(Epoch)
decoders = st.sampled_from(
    [
        codec.admin_decoder(),
        codec.api_decoder(),
        codec.reply_decoder(),
        codec.engine_decoder(),
        codec.fetch_decoder(),
        codec.order_decoder(),
    ]
)
packed = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)


def read(decoder, frames):
    """A message, or None when the frames are none."""
    try:
        return decoder.decode(frames)
    except BadMessage:
        return None


@given(st.integers(0, 255), correlations, epochs)
def test_head_survives_the_way(blob_count, correlation, epoch):
    found = header.unpack(header.pack(blob_count, correlation, epoch))
    assert (found.blob_count, found.correlation, found.epoch) == (blob_count, correlation, epoch)


@given(st.binary(max_size=40) | st.binary(min_size=header.SIZE_BYTES, max_size=header.SIZE_BYTES))
def test_any_bytes_are_a_head_or_a_bad_message(frame):
    try:
        found = header.unpack(frame)
    except BadMessage:
        return
    assert frame[:4] == b"ASB\x02"
    assert found.minor == header.MINOR


@given(decoders, st.lists(st.binary(max_size=60), max_size=20))
def test_any_frames_are_a_message_or_a_bad_message(decoder, frames):
    read(decoder, frames)


@given(decoders, st.binary(max_size=200))
def test_any_body_is_a_message_or_a_bad_message(decoder, body):
    read(decoder, [header.pack(0, header.NO_CORRELATION, Epoch(1)), body])


@given(decoders, st.sampled_from(sorted(MESSAGES)), st.dictionaries(st.text(max_size=9), packed, max_size=4))
def test_any_fields_are_a_message_or_a_bad_message(decoder, name, fields):
    body = msgspec.msgpack.encode({"type": name.rpartition(".")[2], **fields})
    read(decoder, [header.pack(0, header.NO_CORRELATION, Epoch(1)), body])


@given(decoders, st.sampled_from(ALL), st.data())
def test_message_with_one_wrong_byte_is_a_message_or_a_bad_message(decoder, message, data):
    frames = [bytearray(frame) for frame in codec.encode(message)]
    frame = data.draw(st.sampled_from(frames))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    read(decoder, [bytes(frame) for frame in frames])


@given(st.sampled_from(ALL), correlations, epochs, st.lists(st.binary(max_size=9), max_size=16))
def test_every_message_survives_the_way_with_its_blobs(message, correlation, epoch, blobs):
    frames = codec.encode(message, correlation, epoch, blobs)
    received = codec.Decoder(type(message)).decode([memoryview(frame) for frame in frames])
    assert received.body == message
    assert (received.head.correlation, received.head.epoch) == (correlation, epoch)
    assert [bytes(blob) for blob in received.blobs] == blobs


@given(
    st.builds(
        client.SubmitJob,
        request=st.builds(
            client.JobRequest,
            prompt=st.text(),
            seed=st.none() | st.integers(0, 2**32 - 1),
            guidance_scale=st.none() | st.floats(0, 100),
            scheduler_config=st.none()
            | st.dictionaries(st.text(), st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()),
        ),
        priority=st.integers(-100, 100),
    ),
    st.text(),
    st.binary(),
)
def test_every_job_survives_the_way(ask, key, digest):
    command = client.Command(key=key, digest=digest, ask=ask)
    assert codec.admin_decoder().decode(codec.encode(command)).body == command
    as_api = codec.api_decoder().decode(codec.encode(command)).body
    assert as_api == client.ApiCommand(key=key, digest=digest, ask=ask)


@pytest.mark.parametrize("depth", [1, 10, 200, 5_000, 1_000_000])
def test_message_may_have_an_unknown_field_and_one_as_deep_as_a_well_does_no_harm(depth):
    body = b"\x82\xa4type\xa4Ping\xa1x" + b"\x91" * depth + b"\xc0"
    received = read(codec.engine_decoder(), [header.pack(0, header.NO_CORRELATION, Epoch(0)), body])
    # Since 3.12 Python limits calls in C separately, and some releases skip 5,000 levels, too.
    if depth != 5_000 or sys.version_info < (3, 12):
        assert (received is not None) == (depth < 1_000)
