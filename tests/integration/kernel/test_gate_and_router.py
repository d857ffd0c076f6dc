"""Who gets onto the bus, and how much anybody may put there."""

from pathlib import Path

import zmq

from kernel.protocol import codec
from kernel.protocol.client import GetStatus
from kernel.protocol.codec import MAX_BODY_BYTES, MAX_FRAME_BYTES, MAX_FRAMES, admin_decoder
from kernel.protocol.errors import BadMessage
from kernel.shell.bus import Incoming, back_allowance, front_allowance
from tests.integration.kernel.small_bus import SmallBus


def test_a_message_bears_the_name_of_its_senders_key(bus: SmallBus) -> None:
    caller = bus.admit("admin")
    caller.socket.send_multipart([b"head", b"body"])

    incoming = bus.expect()

    assert incoming.name == "admin"
    assert [bytes(frame) for frame in incoming.frames] == [b"head", b"body"]


def test_a_strangers_key_gets_nowhere(bus: SmallBus) -> None:
    stranger = bus.call(*zmq.curve_keypair())
    stranger.socket.send_multipart([b"head", b"body"])

    bus.expect_no_entry(stranger)


def test_a_client_without_curve_gets_nowhere(bus: SmallBus) -> None:
    known = bus.admit("admin")
    plain = bus.context.socket(zmq.DEALER)
    plain.connect(bus.router.endpoints[0])
    plain.send_multipart([b"head", b"in the clear"])
    known.socket.send_multipart([b"head", b"known"])
    try:
        assert bytes(bus.expect().frames[1]) == b"known"
        assert bus.turn() is None
    finally:
        plain.close(linger=0)


def test_a_key_for_another_domain_gets_nowhere(bus: SmallBus) -> None:
    public, secret = zmq.curve_keypair()
    bus.gate.allow("back", public, "w1-1")
    worker = bus.call(public, secret)
    worker.socket.send_multipart([b"head", b"body"])

    bus.expect_no_entry(worker)


def test_a_revoked_key_cannot_connect_again(bus: SmallBus) -> None:
    public, secret = zmq.curve_keypair()
    bus.gate.allow(bus.domain, public, "w1-1")
    first = bus.call(public, secret)
    first.socket.send_multipart([b"head", b"first"])
    assert bus.expect().name == "w1-1"

    bus.gate.revoke(bus.domain, "w1-1")
    again = bus.call(public, secret)
    again.socket.send_multipart([b"head", b"again"])

    bus.expect_no_entry(again)


def test_revoking_one_name_leaves_the_others(bus: SmallBus) -> None:
    bus.admit("w1-1")
    bus.gate.revoke(bus.domain, "w1-1")
    other = bus.admit("w1-2")
    other.socket.send_multipart([b"head", b"body"])

    assert bus.expect().name == "w1-2"


def test_the_longest_allowed_number_of_frames_is_readable_and_one_more_is_not(bus: SmallBus) -> None:
    caller = bus.admit("admin")
    blobs = [b"blob"] * (MAX_FRAMES - 2)
    caller.socket.send_multipart(codec.encode(GetStatus(), blobs=blobs))
    caller.socket.send_multipart(codec.encode(GetStatus(), blobs=[*blobs, b"one more"]))

    assert isinstance(admin_decoder().decode(bus.expect().frames).body, GetStatus)
    assert _refusal(bus.expect()).startswith("a message must have 2 to")


def test_a_flood_of_frames_is_dropped_unread_and_the_next_message_comes_whole(bus: SmallBus) -> None:
    caller = bus.admit("admin")
    caller.socket.send_multipart([b"frame"] * 5_000)
    caller.socket.send_multipart([b"head", b"next"])

    flood, following = bus.expect(), bus.expect()

    assert len(flood.frames) <= MAX_FRAMES + 1
    assert _refusal(flood)
    assert [bytes(frame) for frame in following.frames] == [b"head", b"next"]


def test_a_frame_over_the_limit_costs_its_sender_the_connection_and_nobody_else(bus: SmallBus) -> None:
    rude, polite = bus.admit("admin"), bus.admit("api")
    rude.socket.send_multipart([b"head", bytes(MAX_FRAME_BYTES + 65)], copy=False)
    bus.expect_no_entry(rude)

    polite.socket.send_multipart([b"head", b"body"])
    assert bus.expect().name == "api"


def test_each_socket_hangs_up_on_frames_that_are_longer_than_its_own_limit(short_folder: Path) -> None:
    allowance = front_allowance(max_body_bytes=5 << 20)
    with SmallBus.opened(short_folder / "bus", allowance=allowance) as bus:
        rude, polite = bus.admit("admin"), bus.admit("api")
        rude.socket.send_multipart([b"head", bytes((5 << 20) + 65)], copy=False)
        bus.expect_no_entry(rude)

        polite.socket.send_multipart([b"head", bytes(5 << 20)])
        assert len(bus.expect().frames[1]) == 5 << 20


def test_what_a_peer_may_send_follows_from_the_largest_picture() -> None:
    assert front_allowance(1024).frame_bytes == MAX_BODY_BYTES
    assert front_allowance(32 << 20).frame_bytes == 32 << 20
    assert back_allowance(2048 * 2048).frame_bytes == MAX_BODY_BYTES + 8 * 2048 * 2048
    assert back_allowance(8192 * 8192).frame_bytes == MAX_FRAME_BYTES


def test_an_answer_reaches_its_peer_and_one_to_a_peer_that_is_gone_is_no_error(bus: SmallBus) -> None:
    caller = bus.admit("admin")
    caller.socket.send_multipart([b"head", b"body"])
    peer = bus.expect().peer

    assert bus.router.send(peer, [b"head", b"answer"])
    assert bus.hear(caller) == [b"head", b"answer"]
    assert not bus.router.send(b"nobody", [b"head", b"answer"])


def _refusal(incoming: Incoming) -> str:
    """Why the codec does not take these frames."""
    try:
        admin_decoder().decode(incoming.frames)
    except BadMessage as error:
        return error.detail
    raise AssertionError("the frames were taken")
