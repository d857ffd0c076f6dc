"""Keys take turns in each engine, and have no more running jobs than they may."""

from msgspec.structs import replace

from kernel.protocol import client
from kernel.protocol.api_keys import ChangeKey, KeyIssued, KeyLimits
from kernel.protocol.enums import JobState
from kernel.protocol.ids import EngineId, JobId, KeyId
from tests.unit.core.samples import create_key, submit
from tests.unit.core.story import Story


def key(story: Story, name: str, weight: int = 1, most: int | None = None) -> KeyId:
    reply = story.ask(create_key(name, weight=weight, limits=KeyLimits(max_running_jobs=most)))
    assert isinstance(reply, KeyIssued)
    return reply.key_id


def send(story: Story, engine_id: EngineId, key_id: KeyId | None, priority: int = 0) -> client.JobAccepted:
    reply = story.ask(replace(submit(engine_id, priority), key_id=key_id))
    assert isinstance(reply, client.JobAccepted), reply
    return reply


def given_next(story: Story, job_id: JobId) -> JobId:
    """The worker finishes a job. Returns: the one that it is given then."""
    before = set(story.gives)
    story.picture(job_id)
    story.stored(job_id)
    story.done(job_id)
    (given,) = set(story.gives) - before
    return given


def test_jobs_of_two_keys_are_given_out_in_turns_whatever_their_number_and_priority() -> None:
    story = Story()
    anna, bert = key(story, "anna"), key(story, "bert")
    engine_id = story.engine(start=True)
    bulk = [send(story, engine_id, anna, priority=9) for _ in range(6)]
    single = [send(story, engine_id, bert) for _ in range(2)]
    assert [job.jobs_ahead for job in bulk] == [0, 1, 2, 3, 4, 5]
    assert [job.jobs_ahead for job in single] == [1, 3], "behind one and two of the other key"
    story.up()
    running, order = list(story.gives), list(story.gives)
    while len(order) < 8:
        order.append(given_next(story, running.pop(0)))
        running.append(order[-1])
    owners = ["bert" if job_id in {job.job_id for job in single} else "anna" for job_id in order]
    assert owners == ["anna", "bert", "anna", "bert", "anna", "anna", "anna", "anna"]


def test_a_key_of_weight_3_has_three_turns_for_one_also_when_the_weight_came_later() -> None:
    story = Story()
    anna, bert = key(story, "anna"), key(story, "bert")
    engine_id = story.engine(start=True)
    for _ in range(12):
        send(story, engine_id, anna)
        send(story, engine_id, bert)
    story.ask(ChangeKey(key_id=bert, weight=3))
    story.up(capacity=15)
    of_bert = sum(story.broker.world.jobs[job_id].row.key_id == bert for job_id in story.gives)
    assert (of_bert, len(story.gives)) == (12, 16)


def test_a_key_at_its_limit_is_passed_over_in_every_engine_until_a_job_of_it_ends() -> None:
    story = Story()
    anna = key(story, "anna", most=1)
    first, _ = story.running_engine(capacity=3)
    second, _ = story.running_engine(capacity=3)
    running = send(story, first, anna).job_id
    waiting = send(story, second, anna).job_id
    other = send(story, second, None).job_id
    assert set(story.gives) == {running, other}
    assert story.broker.world.jobs[waiting].row.status is JobState.WAITING
    assert given_next(story, running) == waiting


def test_a_higher_limit_lets_waiting_jobs_begin_at_once_and_a_cancelled_job_frees_its_place() -> None:
    story = Story()
    anna = key(story, "anna", most=1)
    engine_id, _ = story.running_engine(capacity=9)
    jobs = [send(story, engine_id, anna).job_id for _ in range(4)]
    assert list(story.gives) == jobs[:1]
    story.ask(ChangeKey(key_id=anna, fields=("max_running_jobs",), limits=KeyLimits(max_running_jobs=2)))
    assert list(story.gives) == jobs[:2]
    story.ask(client.CancelJob(job_id=jobs[0]))
    assert list(story.gives) == jobs[:3]
    story.ask(ChangeKey(key_id=anna, fields=("max_running_jobs",), limits=KeyLimits()))
    assert list(story.gives) == jobs


def test_an_engine_whose_jobs_are_all_of_a_key_at_its_limit_is_not_started_for_them() -> None:
    story = Story()
    anna = key(story, "anna", most=1)
    first, _ = story.running_engine(capacity=3)
    running = send(story, first, anna).job_id
    second = story.engine()
    waiting = send(story, second, anna).job_id
    assert not story.newcomers
    story.picture(running)
    story.stored(running)
    story.done(running)
    story.up()
    assert waiting in story.gives


def test_after_a_restart_running_jobs_count_again() -> None:
    story = Story()
    anna = key(story, "anna", most=1)
    engine_id, _ = story.running_engine(capacity=3)
    jobs = [send(story, engine_id, anna).job_id for _ in range(2)]
    story.begin()
    assert not story.broker.world.keys_at_limit
    story.up(capacity=3)
    assert list(story.gives) == jobs[:1]
