"""What a batch has for clients leaves as one message to who takes bundles, one by one to the others."""

from collections import Counter

from kernel.protocol import client, codec
from kernel.protocol.codec import MAX_BLOBS
from kernel.protocol.ids import Epoch
from kernel.shell.bus import Incoming
from kernel.shell.decode import FrontDoor
from kernel.shell.outbox import MAX_BUNDLE, Outbox

DONE = client.Done()
VALID = client.JobValid(engine_id="e")


class Post:
    """A router that keeps what it is given; some peers cannot be reached."""

    def __init__(self, *unreachable):
        self.unreachable = unreachable
        self.sent = []

    def send(self, peer, frames):
        if peer in self.unreachable:
            return False
        self.sent.append((peer, codec.reply_decoder().decode([bytes(frame) for frame in frames])))
        return True


def outbox(post, *takers):
    return Outbox(post, Epoch(7), set(takers))


def number(n):
    return n.to_bytes(16, "big")


def test_a_client_that_takes_bundles_gets_one_message_for_a_batch_and_finds_each_answer_in_it():
    post = Post()
    box = outbox(post, b"api")
    box.put(b"api", number(1), DONE)
    box.put(b"api", number(2), VALID)
    assert box.flush() == []
    ((peer, received),) = post.sent
    assert (peer, received.head.epoch) == (b"api", 7)
    found = [(one.head.correlation, one.head.epoch, one.body) for one in codec.unbundled(received)]
    assert found == [(number(1), 7, DONE), (number(2), 7, VALID)]


def test_other_clients_get_each_message_by_itself_in_order():
    post = Post()
    box = outbox(post)
    box.put(b"admin", number(1), DONE)
    box.put(b"admin", number(2), VALID)
    box.flush()
    assert [(one.head.correlation, one.body) for _, one in post.sent] == [
        (number(1), DONE),
        (number(2), VALID),
    ]


def test_a_message_that_is_alone_is_not_wrapped():
    post = Post()
    box = outbox(post, b"api")
    box.put(b"api", number(1), DONE)
    box.flush()
    assert post.sent[0][1].body == DONE
    assert codec.unbundled(post.sent[0][1]) == [post.sent[0][1]]


def test_what_is_sent_is_not_sent_again():
    post = Post()
    box = outbox(post, b"api")
    box.put(b"api", number(1), DONE)
    box.flush()
    assert box.flush() == []
    assert len(post.sent) == 1


def test_many_messages_are_several_bundles():
    post = Post()
    box = outbox(post, b"api")
    for n in range(MAX_BUNDLE + 1):
        box.put(b"api", number(n), DONE)
    box.flush()
    assert [len(received.body.messages) for _, received in post.sent] == [MAX_BUNDLE, 1]


def test_a_client_that_cannot_be_reached_is_told_of_and_loses_its_bundles():
    box = outbox(Post(b"gone"), b"gone", b"api")
    for peer in (b"gone", b"api"):
        box.put(peer, number(1), DONE)
    assert box.flush() == [b"gone"]
    assert box.takers == {b"api"}


def preview(n):
    return client.JobPreview(job_id="j", index=0, step=n)


def test_blobs_leave_with_their_messages_in_and_out_of_a_bundle():
    for takers in ((), (b"peer",)):
        post = Post()
        box = outbox(post, *takers)
        box.put(b"peer", number(1), DONE)
        box.put(b"peer", number(0), preview(1), (b"one",))
        box.put(b"peer", number(2), VALID)
        box.put(b"peer", number(0), preview(2), (b"two",))
        assert box.flush() == []
        found = [one for _, received in post.sent for one in codec.unbundled(received)]
        assert [(one.body, one.blobs, one.head.blob_count) for one in found] == [
            (DONE, (), 0),
            (preview(1), (b"one",), 1),
            (VALID, (), 0),
            (preview(2), (b"two",), 1),
        ]
        assert len(post.sent) == (1 if takers else 4)


def test_a_bundle_has_no_more_blobs_than_a_message_may_have():
    post = Post()
    box = outbox(post, b"api")
    for n in range(MAX_BLOBS + 1):
        box.put(b"api", number(0), preview(n), (b"%d" % n,))
    box.put(b"api", number(1), DONE)
    box.flush()
    assert [len(received.blobs) for _, received in post.sent] == [MAX_BLOBS, 1]
    found = [one for _, received in post.sent for one in codec.unbundled(received)]
    assert [one.blobs for one in found] == [*((b"%d" % n,) for n in range(MAX_BLOBS + 1)), ()]


def test_a_bundle_that_promises_more_blobs_than_it_has_gives_what_is_there():
    message = client.Enclosed(correlation=number(0), message=preview(1), blobs=2)
    frames = codec.encode(client.Bundle(messages=(message,)), blobs=(b"one",))
    (found,) = codec.unbundled(codec.reply_decoder().decode(frames))
    assert found.blobs == (b"one",)


def watch(door, **fields):
    frames = codec.encode(client.Watch(**fields), number(1))
    door.read(Incoming(b"peer", "api", tuple(frames)), Counter())


def test_the_last_watch_of_a_client_says_whether_it_takes_bundles():
    takers = set()
    door = FrontDoor(Epoch(7), "0", 1, takers)
    watch(door, takes_bundles=True)
    assert takers == {b"peer"}
    watch(door)
    assert takers == set()
