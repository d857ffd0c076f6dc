"""What workers say too late, in another's name, or before they were let in."""

from kernel.core.actions import Order
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from tests.unit.core.story import Story, only, orders_to


def cancels(found, worker_id):
    return [order.job_id for order in orders_to(found, worker_id) if isinstance(order, wire.CancelJob)]


def test_late_result_of_a_job_that_was_given_to_another_is_dropped():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    first, second = story.up(), story.up()
    job_id = story.submit(engine_id)
    old = story.gives[job_id]
    story.say(first, wire.Goodbye(reason="a signal"))
    assert story.gives[job_id].worker_id == second
    assert cancels(story.picture(job_id, give=old), first) == [job_id]
    story.say(first, wire.JobDone(job_id=job_id, lease=old.lease))
    assert story.job_state(job_id) is JobState.PROCESSING
    assert not story.database.images
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_late_result_under_an_older_lease_of_the_same_worker_is_dropped():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    old = story.gives[job_id]
    story.wait(601.0)
    story.dropped(job_id)
    assert story.gives[job_id].worker_id == worker_id
    assert story.gives[job_id].lease > old.lease
    assert cancels(story.picture(job_id, give=old), worker_id) == [job_id]
    story.say(worker_id, wire.JobFailed(job_id=job_id, lease=old.lease, code="late", text="late"))
    assert story.job_state(job_id) is JobState.PROCESSING


def test_right_lease_in_the_wrong_mouth_is_refused():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    _, second = story.up(), story.up()
    job_id = story.submit(engine_id)
    lease = story.gives[job_id].lease
    story.say(second, wire.JobFailed(job_id=job_id, lease=lease, code="bad", text="not mine"))
    assert story.job_state(job_id) is JobState.PROCESSING


def test_worker_that_is_done_with_a_job_that_is_not_its_own_is_not_told_to_drop_it():
    """It would answer that it has dropped it, and so on for ever."""
    story = Story()
    engine_id, _worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    story.make(job_id)
    for end in (story.dropped, story.done, story.failed):
        assert not only(end(job_id), Order)


def test_worker_that_speaks_of_another_engine_is_not_heard():
    story = Story()
    mine, other = story.engine(start=True), story.engine(start=True)
    story.hello(worker_id := story.newcomers[0])
    story.say(worker_id, wire.EngineFailed(engine_id=other, code="bad", text="bad"))
    story.say(worker_id, wire.EngineReady(engine_id=other, device="cpu", memory_bytes=1, capacity=1))
    story.say(worker_id, wire.EngineReady(engine_id="?", device="cpu", memory_bytes=1, capacity=1))
    assert [story.engine_state(e) for e in (mine, other)] == [EngineState.STARTING] * 2


def test_worker_that_has_not_said_hello_is_not_heard():
    story = Story()
    engine_id = story.engine(start=True)
    worker_id = story.newcomers[0]
    report = wire.EngineReady(engine_id=engine_id, device="cpu", memory_bytes=1, capacity=1)
    assert not story.say(worker_id, report)
    assert not story.say(worker_id, wire.Ping())


def test_worker_with_a_wrong_token_is_refused():
    story = Story()
    engine_id = story.engine(start=True)
    worker_id = story.newcomers[0]
    role, _token = story.tokens[worker_id]
    hello = wire.Hello(role=role, worker_id=worker_id, token="guess", version="1", pid=1, host="x")
    (order,) = orders_to(story.say(worker_id, hello), worker_id)
    assert isinstance(order, wire.Refuse)
    assert order.code == "not_permitted"
    assert story.engine_state(engine_id) is EngineState.STARTING
    assert not story.say(worker_id, wire.Ping())


def test_report_of_a_forgotten_worker_changes_nothing():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    old = story.gives[job_id]
    story.exits(worker_id)
    assert not story.picture(job_id, give=old)
    assert not story.say(worker_id, wire.Ping())
    assert not story.exits(worker_id)
