"""Models that go to workers of other hosts: what their orders name, at a bounded rate, in turns."""

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.actions import Order, ReadModelPart
from kernel.core.events import ModelFilesListed, ModelPartNotRead, ModelPartRead
from kernel.core.ports import Limits
from kernel.core.state.part_queue import MOST_ASKED, MOST_READ, PART_BYTES
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import LoraUse
from tests.unit.core.samples import CHECKPOINT, model
from tests.unit.core.story import Story, only

SHA = "a" * 64
SIZE = 10 * PART_BYTES
LORA = model("style", sha256=SHA.replace("a", "b"), size_bytes=SIZE)
UNHURRIED = Limits(push_rate_bytes=10**12)


def told(limits=UNHURRIED):
    """A Manager that knows the digests of a checkpoint and a LoRA."""
    story = Story(LORA, limits=limits)
    known = replace(story.database.models[CHECKPOINT], sha256=SHA, size_bytes=SIZE)
    story.database.models[CHECKPOINT] = known
    story.begin()
    return story


def loading(story):
    """A worker of another host that was told what to load."""
    story.engine(pool="lab", start=True)
    return story.member(story.token())


def part(number=0, model_id=CHECKPOINT, sha256=SHA, **fields):
    asked = {"file": "model.safetensors", "offset": number * PART_BYTES, "size_bytes": PART_BYTES, **fields}
    return wire.GetModelPart(model_id=model_id, sha256=sha256, **asked)


def refusals(found):
    return [one.message for one in only(found, Order) if isinstance(one.message, wire.ModelPartRefused)]


def code_of(found):
    (refused,) = refusals(found)
    assert not only(found, ReadModelPart)
    return refused.code


def test_a_worker_that_loads_gets_the_files_of_its_engine():
    story = told()
    worker_id = loading(story)

    (read,) = only(story.say(worker_id, wire.GetModelFiles(model_id=CHECKPOINT, sha256=SHA)), ReadModelPart)
    assert (read.part.file, read.source.uri, read.source.size_bytes) == (
        None,
        "file:///models/checkpoint.safetensors",
        SIZE,
    )
    files = (wire.FileOfModel(name="model.safetensors", size_bytes=SIZE),)
    (order,) = only(story.tell(ModelFilesListed(read.part, files, is_folder=False)), Order)
    assert order.message == wire.ModelFiles(model_id=CHECKPOINT, sha256=SHA, files=files)

    (read,) = only(story.say(worker_id, part(3)), ReadModelPart)
    sent = story.tell(ModelPartRead(read.part))
    message = wire.ModelPart(model_id=CHECKPOINT, sha256=SHA, file="model.safetensors", offset=3 * PART_BYTES)
    assert sent == [Order(worker_id, message, has_blob=True)]


def test_a_model_that_no_order_of_the_worker_names_is_not_sent():
    story = told()
    worker_id = loading(story)
    assert code_of(story.say(worker_id, part(model_id=LORA.model_id, sha256=LORA.sha256))) == "not_permitted"
    assert code_of(story.say(worker_id, part(model_id=ModelId("unheard-of")))) == "not_permitted"


def test_the_models_of_a_job_are_sent_while_the_worker_holds_it():
    story = told()
    engine_id = story.engine(start=True)
    worker_id = story.up()
    asked = part(model_id=LORA.model_id, sha256=LORA.sha256)
    job_id = story.submit(engine_id, loras=(LoraUse(model_id=LORA.model_id),))
    (read,) = only(story.say(worker_id, asked), ReadModelPart)
    story.tell(ModelPartRead(read.part))

    story.ask(client.CancelJob(job_id=job_id))
    assert code_of(story.say(worker_id, asked)) == "not_permitted"


def test_another_content_than_the_order_named_is_not_sent():
    story = told()
    worker_id = loading(story)
    assert code_of(story.say(worker_id, part(sha256="c" * 64))) == "download_failed"


def test_a_model_without_a_digest_is_digested_before_others_and_sent_then():
    story = told()
    worker_id = loading(story)
    world = story.broker.world
    known = world.models[CHECKPOINT]
    world.models[CHECKPOINT] = replace(known, sha256=None)
    world.models_to_digest = {LORA.model_id: None, CHECKPOINT: None}
    ask = wire.GetModelFiles(model_id=CHECKPOINT, sha256="")

    assert code_of(story.say(worker_id, ask)) == "model_not_ready"
    assert list(world.models_to_digest) == [CHECKPOINT, LORA.model_id]

    world.models[CHECKPOINT] = known
    (read,) = only(story.say(worker_id, ask), ReadModelPart)
    assert (read.part.sha256, read.part.file) == (SHA, None)


def test_a_part_must_be_short_and_of_a_named_file():
    story = told()
    worker_id = loading(story)
    for wrong in ({"size_bytes": PART_BYTES + 1}, {"size_bytes": 0}, {"file": ""}, {"file": "x" * 2_000}):
        assert code_of(story.say(worker_id, part(**wrong))) == "bad_message", wrong


def test_a_server_that_sends_no_models_says_so():
    story = told(Limits(push_rate_bytes=None))
    worker_id = loading(story)
    (refused,) = refusals(story.say(worker_id, part()))
    assert refused.code == "not_permitted"
    assert "map its folder" in refused.text


def test_a_file_that_cannot_be_read_is_refused_with_the_reason():
    story = told()
    worker_id = loading(story)
    (read,) = only(story.say(worker_id, part()), ReadModelPart)
    (refused,) = refusals(story.tell(ModelPartNotRead(read.part, "it has changed")))
    assert (refused.code, refused.text) == ("download_failed", "it has changed")


def test_few_parts_are_read_at_once_and_the_next_follows_the_first_that_was_sent():
    story = told()
    worker_id = loading(story)
    reads = [read for n in range(5) for read in only(story.say(worker_id, part(n)), ReadModelPart)]
    assert len(reads) == MOST_READ
    found = story.tell(ModelPartRead(reads[0].part))
    assert [read.part.offset for read in only(found, ReadModelPart)] == [MOST_READ * PART_BYTES]


def test_a_worker_that_asks_for_too_much_at_once_is_not_heard():
    story = told(Limits(push_rate_bytes=PART_BYTES))
    worker_id = loading(story)
    for number in range(100):
        story.say(worker_id, part(number))
        story.say(worker_id, part(number))
    assert len(story.broker.world.parts) == MOST_ASKED


def test_parts_keep_to_the_rate():
    story = told(Limits(push_rate_bytes=2 * PART_BYTES))
    worker_id = loading(story)
    sent = 0
    asked = 0
    for _ in range(40):
        if len(story.broker.world.parts) < MOST_ASKED:
            asked += 1
            reads = only(story.say(worker_id, part(asked)), ReadModelPart)
        reads += only(story.wait(0.25), ReadModelPart)
        for read in reads:
            story.tell(ModelPartRead(read.part))
            sent += 1
        reads = []
    assert 19 <= sent <= 21, "ten seconds at two parts a second"


def test_workers_take_turns():
    story = told(Limits(push_rate_bytes=PART_BYTES))
    greedy, modest = loading(story), loading(story)
    for number in range(6):
        story.say(greedy, part(number))
    story.say(modest, part(0))
    served = []
    while len(served) < 4:
        for read in only(story.wait(1.0), ReadModelPart):
            served.append(read.part.worker_id)
            story.tell(ModelPartRead(read.part))
    assert modest in served[:2]


def test_requests_of_a_worker_that_is_gone_are_forgotten():
    story = told(Limits(push_rate_bytes=1))
    worker_id = loading(story)
    (read,) = only(story.say(worker_id, part(0)), ReadModelPart)
    story.say(worker_id, part(1))
    story.pinging.discard(worker_id)
    story.wait(60.0)
    assert worker_id not in story.broker.world.workers
    assert len(story.broker.world.parts) == 0
    assert not story.tell(ModelPartRead(read.part))
    assert story.broker.world.parts.reading == 0


def test_loading_has_time_while_parts_are_sent_or_the_worker_tells_of_copying():
    story = told(Limits(push_rate_bytes=10**12, load_timeout_s=100.0))
    worker_id = loading(story)
    for number in range(5):
        story.wait(90.0)
        (read,) = only(story.say(worker_id, part(number)), ReadModelPart)
        story.tell(ModelPartRead(read.part))
    engine_id = story.engine_of[worker_id]
    for done in range(5):
        story.wait(90.0)
        copying = wire.EngineProgress(engine_id=engine_id, bytes=done, total_bytes=9, is_copying=True)
        story.say(worker_id, copying)
    assert story.engine_state(engine_id) is EngineState.STARTING
    story.wait(60.0)
    story.say(worker_id, wire.EngineProgress(engine_id=engine_id, bytes=9, total_bytes=9))
    story.wait(60.0)
    assert worker_id not in story.broker.world.workers


def test_a_job_has_time_while_parts_of_its_models_are_sent():
    story = told(Limits(push_rate_bytes=10**12, load_timeout_s=100.0))
    engine_id = story.engine(start=True)
    worker_id = story.up()
    story.submit(engine_id, loras=(LoraUse(model_id=LORA.model_id),))
    for number in range(5):
        story.wait(90.0)
        (read,) = only(story.say(worker_id, part(number, LORA.model_id, LORA.sha256)), ReadModelPart)
        found = story.tell(ModelPartRead(read.part))
        assert not any(isinstance(one.message, wire.CancelJob) for one in only(found, actions.Order))
    assert not only(story.wait(90.0), actions.TerminateWorker)


def test_a_model_that_is_replaced_while_parts_wait_is_not_sent():
    story = told(Limits(push_rate_bytes=PART_BYTES))
    worker_id = loading(story)
    (read,) = only(story.say(worker_id, part(0)), ReadModelPart)
    story.tell(ModelPartRead(read.part))
    story.say(worker_id, part(1))
    world = story.broker.world
    world.models[CHECKPOINT] = replace(world.models[CHECKPOINT], sha256="d" * 64)
    assert code_of(story.wait(5.0)) == "download_failed"
    assert world.parts.reading == 0
