"""Frames off the two sockets, read by role: what came along rides on the event."""

from collections import Counter

import pytest

from kernel.core.events import Asked, Reported
from kernel.protocol import client, codec, worker
from kernel.protocol.codec import MAX_PREVIEW_BYTES
from kernel.protocol.errors import BadMessage
from kernel.protocol.ids import Epoch, JobId, Lease
from kernel.protocol.vocabulary import WorkerRole
from kernel.shell.bus import Incoming
from kernel.shell.decode import BackDoor, FrontDoor
from tests.unit.core.samples import submit

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
        arrival = door.read(incoming(PREVIEW, *blobs), WorkerRole.ENGINE)
        assert isinstance(arrival.event, Reported)
        assert (arrival.event.has_blob, arrival.blobs) == (bool(blobs), blobs)


def test_a_preview_as_large_as_a_picture_is_no_message():
    door = BackDoor()
    door.read(incoming(PREVIEW, bytes(MAX_PREVIEW_BYTES)), WorkerRole.ENGINE)
    with pytest.raises(BadMessage, match="a preview has at most"):
        door.read(incoming(PREVIEW, bytes(MAX_PREVIEW_BYTES + 1)), WorkerRole.ENGINE)
