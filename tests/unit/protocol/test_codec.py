"""Frames that are let in, and those that are not."""

import struct

import msgspec
import pytest

from kernel.protocol import client, codec, header, worker
from kernel.protocol.errors import BadMessage, WrongVersion
from kernel.protocol.ids import Epoch
from tests.unit.protocol.examples import MESSAGES

PING = codec.encode(worker.Ping())


def head_frame(magic=b"ASB", major=2, minor=0, blobs=0):
    return struct.pack("!3sBBB16sQ", magic, major, minor, blobs, bytes(16), 0)


def can_read(decoder, message):
    try:
        decoder.decode(codec.encode(message))
    except BadMessage:
        return False
    return True


def readable(decoder):
    """The names of all messages that a decoder lets in."""
    return {name for name, message in MESSAGES.items() if can_read(decoder, message)}


def test_head_has_its_golden_bytes():
    frame = header.pack(2, bytes(range(16)), Epoch(7))
    assert frame.hex() == "415342020002000102030405060708090a0b0c0d0e0f0000000000000007"
    assert header.unpack(frame) == header.Head(0, 2, bytes(range(16)), Epoch(7))


def test_api_may_say_everything_but_what_only_an_administrator_may():
    admin = {name for name in MESSAGES if name.startswith("ClientMessage.")}
    assert readable(codec.admin_decoder()) == admin
    assert admin - readable(codec.api_decoder()) == {"ClientMessage.Shutdown"}


def test_client_reads_replies_and_nothing_else():
    replies = {name for name in MESSAGES if name.startswith("BrokerReply.")}
    assert readable(codec.reply_decoder()) - replies == {
        "WorkerReport.ModelProgress",
        "WorkerReport.EngineProgress",
    }
    assert replies <= readable(codec.reply_decoder())


def test_worker_reads_orders_and_nothing_else():
    assert {name for name in readable(codec.order_decoder()) if not name.startswith("WorkerOrder.")} == set()
    assert len(readable(codec.order_decoder())) == 17


def test_engine_worker_may_not_speak_of_models_and_fetch_worker_not_of_jobs():
    engine, fetch = readable(codec.engine_decoder()), readable(codec.fetch_decoder())
    reports = {name for name in MESSAGES if name.startswith("WorkerReport.")}
    both = {"WorkerReport.Hello", "WorkerReport.Ping", "WorkerReport.Goodbye"}
    assert engine & fetch == both
    assert (engine | fetch) & reports == reports
    models = {"WorkerReport.ModelProgress", "WorkerReport.ModelInspected", "WorkerReport.ModelFailed"}
    scans = {f"WorkerReport.{name}" for name in ("ScanBegun", "ScanProgress", "FileScanned", "ScanEnded")}
    assert fetch & reports == both | models | scans | {"WorkerReport.CallbackEnded"}


def test_no_worker_may_say_what_a_client_says():
    for decoder in (codec.engine_decoder(), codec.fetch_decoder()):
        assert not any(name.startswith("ClientMessage.") for name in readable(decoder))


@pytest.mark.parametrize("count", [0, 1, codec.MAX_FRAMES + 1])
def test_message_of_too_few_or_too_many_frames_is_refused(count):
    frames = [head_frame(blobs=max(count - 2, 0)), PING[1], *[b""] * codec.MAX_FRAMES][:count]
    with pytest.raises(BadMessage, match="frames"):
        codec.engine_decoder().decode(frames)


def test_message_of_as_many_blobs_as_are_allowed_is_let_in():
    frames = codec.encode(worker.Ping(), blobs=[b"x"] * codec.MAX_BLOBS)
    assert len(codec.engine_decoder().decode(frames).blobs) == codec.MAX_BLOBS


@pytest.mark.parametrize("announced", [0, 1, 3])
def test_head_that_miscounts_the_blobs_is_refused(announced):
    with pytest.raises(BadMessage, match="announces"):
        codec.engine_decoder().decode([head_frame(blobs=announced), PING[1], b"", b""])


def test_body_that_is_too_long_is_refused_before_it_is_read():
    body = b"\xc1" * (codec.MAX_BODY_BYTES + 1)
    with pytest.raises(BadMessage, match="the body has"):
        codec.engine_decoder().decode([head_frame(), body])
    with pytest.raises(BadMessage, match="cannot be decoded"):
        codec.engine_decoder().decode([head_frame(), body[:-1]])


def test_message_that_is_too_long_altogether_is_refused():
    blob = memoryview(bytes(codec.MAX_MESSAGE_BYTES // 8))
    with pytest.raises(BadMessage, match="more than"):
        codec.engine_decoder().decode([head_frame(blobs=8), PING[1], *[blob] * 8])


@pytest.mark.parametrize(
    "frame",
    [b"", b"ASB", head_frame()[:-1], head_frame() + b"\0", head_frame(magic=b"HTT"), b"\0" * 30],
)
def test_head_that_is_none_is_refused(frame):
    with pytest.raises(BadMessage) as caught:
        codec.engine_decoder().decode([frame, PING[1]])
    assert caught.value.code == "bad_message"


@pytest.mark.parametrize("major", [0, 1, 255])
def test_other_major_version_is_refused_as_such(major):
    with pytest.raises(WrongVersion) as caught:
        codec.engine_decoder().decode([head_frame(major=major), PING[1]])
    assert caught.value.code == "wrong_version"
    assert f"ASB/{major}" in caught.value.detail


def test_newer_minor_version_is_spoken_as_the_lower_one():
    received = codec.engine_decoder().decode([head_frame(minor=9), PING[1]])
    assert received.head.minor == header.MINOR


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x81\xa4type\xa7Nothing",
        b"\x81\xa4type\xa4\xff\xfe\xff\xfe",
        b"\x82\xa4type\xa8Accepted\xa6job_id\x01",
        b"\x91" * 100_000,
        b"\x82\xa4type\xa4Ping\xa1x" + b"\x91" * 100_000 + b"\xc0",
    ],
    ids=["empty", "nil", "no type", "unknown type", "not utf-8", "wrong field", "deep", "deep in unknown"],
)
def test_body_that_is_no_message_is_refused(body):
    with pytest.raises(BadMessage, match="cannot be decoded"):
        codec.engine_decoder().decode([head_frame(), body])


def test_blobs_are_handed_on_without_a_copy():
    blob = memoryview(b"picture")
    received = codec.engine_decoder().decode(codec.encode(worker.Ping(), blobs=[blob]))
    assert received.blobs[0] is blob


def test_command_of_the_api_has_the_bytes_of_a_command():
    ask = client.CancelJob(job_id="j")
    as_api = codec.encode(client.ApiCommand(key="k", digest=b"d", ask=ask))
    assert as_api == codec.encode(client.Command(key="k", digest=b"d", ask=ask))


@pytest.mark.parametrize(
    ("field", "value"),
    [("size_bytes", 2**63), ("seed", -1), ("width_px", 0), ("height_px", 65_537), ("index", -1)],
)
def test_number_that_no_column_can_hold_is_refused_at_the_door(field, value):
    wrong = msgspec.structs.replace(MESSAGES["WorkerReport.ImageReady"], **{field: value})
    assert not can_read(codec.engine_decoder(), wrong)
