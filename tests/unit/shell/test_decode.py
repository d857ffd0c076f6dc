"""Frames off the two sockets, read by role: what came along rides on the event."""

from collections import Counter

import msgspec
import pytest

from kernel.core.events import Asked, EnrollAsked, Reported
from kernel.protocol import client, codec, worker
from kernel.protocol.codec import MAX_ENROLL_BYTES, MAX_PREVIEW_BYTES
from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadMessage
from kernel.protocol.ids import Epoch, JobId, Lease, WorkerId
from kernel.shell.bus import Incoming
from kernel.shell.decode import BackDoor, FrontDoor
from tests.unit.core.samples import submit

WORKER = WorkerId("w1-1")
PREVIEW = worker.Preview(job_id=JobId("j"), lease=Lease(1), index=0, step=1)


def incoming(message, *blobs):
    return Incoming(b"peer", "api", tuple(codec.encode(message, blobs=blobs)))


def test_the_pictures_of_a_job_come_with_its_command_and_the_core_is_told_their_sizes():
    ask = submit("e", inputs=("reference", "mask"))
    command = client.ApiCommand(key="k", digest=b"d", ask=ask)
    arrival = FrontDoor(Epoch(1), "0", 1, set()).read(incoming(command, b"abc", b"de"), Counter())
    assert isinstance(arrival.event, Asked)
    assert arrival.event.blob_bytes == (3, 2)
    assert arrival.blobs == (b"abc", b"de")


def test_a_report_says_whether_a_file_came_along():
    door = BackDoor()
    for blobs in ((), (b"jpeg",)):
        arrival = door.read(incoming(PREVIEW, *blobs), WorkerRole.ENGINE, WORKER)
        assert isinstance(arrival.event, Reported)
        assert (arrival.event.has_blob, arrival.blobs) == (bool(blobs), blobs)


def test_a_preview_as_large_as_a_picture_is_no_message():
    door = BackDoor()
    door.read(incoming(PREVIEW, bytes(MAX_PREVIEW_BYTES)), WorkerRole.ENGINE, WORKER)
    with pytest.raises(BadMessage, match="a preview must have at most"):
        door.read(incoming(PREVIEW, bytes(MAX_PREVIEW_BYTES + 1)), WorkerRole.ENGINE, WORKER)


@pytest.mark.parametrize("size_bytes", [0, 4, 2**63 - 1])
def test_a_picture_that_is_not_as_long_as_is_said_of_it_is_no_message(size_bytes):
    map_ = worker.ControlMap(
        job_id=JobId("j"), lease=Lease(1), control_type="canny", size_bytes=3, sha256="0" * 64
    )
    assert BackDoor().read(incoming(map_, b"png"), WorkerRole.ENGINE, WORKER).blobs == (b"png",)
    lie = msgspec.structs.replace(map_, size_bytes=size_bytes)
    with pytest.raises(BadMessage, match=f"the image has 3 bytes, not {size_bytes}"):
        BackDoor().read(incoming(lie, b"png"), WorkerRole.ENGINE, WORKER)


def test_a_reason_why_a_message_cannot_be_read_does_not_quote_all_of_it():
    ask = {"type": "RegisterModel", "name": "n", "uri": "file:///m", "model_type": "x" * 1_000_000}
    body = msgspec.msgpack.encode({"type": "Command", "key": "k", "digest": b"", "ask": ask})
    frames = (codec.encode(PREVIEW)[0], body)
    with pytest.raises(BadMessage, match="Invalid enum value") as caught:
        FrontDoor(Epoch(1), "0", 1, set()).read(Incoming(b"peer", "api", frames), Counter())
    assert len(caught.value.detail) < 600


ENROLL = worker.Enroll(token="t", version="0.2.0", pid=1, host="there")


def test_a_stranger_may_enroll():
    arrival = BackDoor().read_stranger(incoming(ENROLL))
    assert arrival.event == EnrollAsked("api", b"peer", ENROLL)


@pytest.mark.parametrize("message", [worker.Ping(), PREVIEW, worker.Goodbye(reason="r")])
def test_a_stranger_may_say_nothing_else(message):
    with pytest.raises(BadMessage):
        BackDoor().read_stranger(incoming(message))


def test_what_a_stranger_says_is_short():
    with pytest.raises(BadMessage, match="may only enroll"):
        BackDoor().read_stranger(incoming(ENROLL, bytes(MAX_ENROLL_BYTES)))
