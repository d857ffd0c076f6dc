"""What the session does with parts of models: it passes them on, both ways, as long as it is joined."""

from engine_worker.session.actions import TakePart
from kernel.protocol.ids import Epoch, ModelId
from kernel.protocol.worker import Drain, GetModelPart, ModelPart, ModelPartRefused
from tests.unit.worker.orders import EPOCH, run
from tests.unit.worker.story import Story, done, said

ASK = GetModelPart(model_id=ModelId("m"), sha256="a" * 64, file="f", offset=0, size_bytes=9)
PART = ModelPart(model_id=ModelId("m"), sha256="a" * 64, file="f", offset=0)


def test_a_request_is_sent_once_the_worker_has_joined():
    story = Story()
    assert not story.tell(ASK)
    assert said(story.join().tell(ASK)) == [ASK]


def test_a_part_goes_to_the_thread_that_copies():
    story = Story().join()
    assert done(story.order(PART, blobs=(b"bytes",))) == [TakePart(PART, b"bytes")]
    refused = ModelPartRefused(model_id=ModelId("m"), sha256="a" * 64, code="c", text="t")
    assert done(story.order(refused)) == [TakePart(refused)]


def test_a_part_of_an_earlier_manager_is_ignored():
    story = Story().join()
    assert not story.order(PART, epoch=Epoch(EPOCH - 1), blobs=(b"bytes",))


def test_a_worker_that_drains_still_copies_for_the_jobs_that_it_holds():
    story = Story().load()
    story.order(run("a"))
    story.order(Drain())
    assert done(story.order(PART, blobs=(b"bytes",))) == [TakePart(PART, b"bytes")]
    assert said(story.tell(ASK)) == [ASK]
