"""Workers of pools: they enroll with a token, and get an engine of their pool."""

from dataclasses import replace as with_limits

import pytest

from kernel.core import actions
from kernel.core.actions import ForgetWorker, LaunchWorker, RefuseStranger
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState, WorkerRole
from kernel.protocol.version import VERSION
from kernel.protocol.worker import WorkerDevice
from kernel.protocol.worker_tokens import (
    CordonWorker,
    CreateWorkerToken,
    DrainWorker,
    RevokeWorker,
    RevokeWorkerToken,
    WorkerTokenIssued,
)
from tests.unit.core.samples import heavy, spec
from tests.unit.core.story import Story, only, orders_to

GB = 1_000_000_000


def gpu(free_bytes: int, name: str = "cuda:0") -> WorkerDevice:
    return WorkerDevice(device=name, name="H200", total_bytes=2 * free_bytes, free_bytes=free_bytes)


def pool_story(**limits: object) -> tuple[Story, str]:
    """A story with a token of the pool `lab`."""
    story = Story(limits=with_limits(Limits(), **limits))
    return story, story.token()


def refusal(found: list[actions.Action]) -> wire.Refuse:
    (refused,) = only(found, RefuseStranger)
    return refused.message


def loads(found: list[actions.Action]) -> list[wire.LoadEngine]:
    return [one.message for one in only(found, actions.Order) if isinstance(one.message, wire.LoadEngine)]


def test_token_is_shown_once_and_only_its_digest_is_kept():
    story = Story()
    ask = CreateWorkerToken(pool="lab", expires_in_s=60.0, max_workers=3)
    issued = story.ask(ask, key="mine")
    assert isinstance(issued, WorkerTokenIssued)
    assert issued.text is not None
    row = story.database.worker_tokens[issued.token_id]
    assert (row.pool, row.max_workers, row.expires_at_ms) == ("lab", 3, story.now.unix_ms + 60_000)
    assert issued.text not in repr(row)
    again = story.ask(ask, key="mine")
    assert isinstance(again, WorkerTokenIssued)
    assert (again.token_id, again.text) == (issued.token_id, None)


def test_worker_with_a_token_is_welcomed_by_its_name_and_holds_nothing():
    story, token = pool_story()
    found = story.enrolls(token)
    (admitted,) = only(found, actions.AdmitWorker)
    (welcome,) = orders_to(found, admitted.worker_id)
    assert isinstance(welcome, wire.Welcome)
    assert welcome.worker_id == admitted.worker_id
    assert not loads(story.wait(60.0))
    assert admitted.worker_id in story.broker.world.workers


def test_worker_that_was_not_heard_is_welcomed_again_under_the_same_name():
    story, token = pool_story()
    worker_id = story.member(token)
    (welcome,) = orders_to(story.enrolls(token), worker_id)
    assert isinstance(welcome, wire.Welcome)
    assert list(story.broker.world.workers) == [worker_id]


@pytest.mark.parametrize("wrong", ["", "spoonworker_1_2_3", "x" * 300])
def test_stranger_with_another_text_is_told_so_and_changes_nothing(wrong: str):
    story, _ = pool_story()
    found = story.enrolls(wrong)
    assert (refusal(found).code, refusal(found).retry_after_s) == ("token_unknown", None)
    assert len(found) == 1
    assert not story.broker.world.workers


def test_expired_token_admits_nobody_more():
    story = Story()
    token = story.token(expires_in_s=60.0)
    story.member(token, "?one")
    story.wait(60.0)
    assert refusal(story.enrolls(token, "?two")).code == "token_expired"


def test_token_admits_so_many_workers_at_a_time_and_one_more_when_one_has_left():
    story = Story()
    token = story.token(max_workers=1)
    worker_id = story.member(token, "?one")
    refused = refusal(story.enrolls(token, "?two"))
    assert refused.code == "token_full"
    assert refused.retry_after_s is not None
    story.say(worker_id, wire.Goodbye(reason="done"))
    story.wait(0.0)
    story.member(token, "?two")


@pytest.mark.parametrize("version", ["1.0.0", "0.4.0", "0.0.9", "nonsense", ""])
def test_worker_of_a_distant_version_is_refused_with_both_versions(version: str):
    story, token = pool_story()
    refused = refusal(story.enrolls(token, version=version))
    assert refused.code == "version_skew"
    assert VERSION in refused.text


@pytest.mark.parametrize("version", ["0.1.7", "0.2.99", "0.3.0"])
def test_worker_one_minor_version_apart_is_welcome(version: str):
    story, token = pool_story()
    assert story.member(token, version=version)


def test_engine_of_a_pool_gets_a_worker_of_it_and_none_is_launched_here():
    story, token = pool_story()
    engine_id = story.engine(pool="lab")
    worker_id = story.member(token)
    job_id = story.submit(engine_id)
    assert story.engine_of[worker_id] == engine_id
    story.ready(worker_id)
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED
    assert not story.newcomers


def test_job_of_a_pool_waits_until_a_worker_comes():
    story, token = pool_story()
    engine_id = story.engine(pool="lab")
    job_id = story.submit(engine_id)
    assert story.engine_row(engine_id).waits_since_ms == story.now.unix_ms
    story.member(story.token("other"), "?other")
    assert story.engine_state(engine_id) is EngineState.CLOSED
    worker_id = story.member(token)
    assert story.engine_state(engine_id) is EngineState.STARTING
    assert story.engine_row(engine_id).waits_since_ms is None
    story.ready(worker_id)
    story.make(job_id)


def test_engines_of_a_pool_do_not_count_as_running_here():
    story, token = pool_story(max_running=1)
    far = story.engine(pool="lab", start=True)
    story.ready(story.member(token))
    near = story.engine(start=True)
    story.up()
    assert story.engine_state(far) is story.engine_state(near) is EngineState.READY


def test_engine_loads_as_many_images_together_as_fit_into_the_workers_memory():
    big = heavy("big", 4 * GB)
    story = Story(big)
    token = story.token()
    story.engine(pool="lab", start=True, checkpoint="big")
    (order,) = loads(story.enrolls(token, devices=(gpu(80 * GB),)))
    assert (order.load.device, order.load.max_batch) == ("cuda:0", 8)


def test_worker_without_the_memory_is_passed_over_for_one_that_has_it():
    big = heavy("big", 4 * GB)
    story = Story(big)
    token = story.token()
    engine_id = story.engine(pool="lab", start=True, checkpoint="big")
    assert not loads(story.enrolls(token, "?small", devices=(gpu(2 * GB),)))
    assert story.engine_row(engine_id).waits_since_ms is not None
    assert loads(story.enrolls(token, "?large", devices=(gpu(20 * GB),)))


def test_engine_that_names_a_device_gets_a_worker_that_has_it():
    story, token = pool_story()
    story.engine(pool="lab", start=True, device="cuda:1")
    assert not loads(story.enrolls(token, "?one", devices=(gpu(20 * GB),)))
    (order,) = loads(story.enrolls(token, "?two", devices=(gpu(20 * GB), gpu(20 * GB, "cuda:1"))))
    assert order.load.device == "cuda:1"


def test_closed_engine_lets_its_worker_leave_and_a_fresh_process_is_idle():
    story, token = pool_story()
    engine_id = story.engine(pool="lab", start=True)
    worker_id = story.member(token)
    story.ready(worker_id)
    assert wire.Drain() in orders_to(story.ask_actions(client.StopEngine(engine_id=engine_id)), worker_id)
    story.say(worker_id, wire.Goodbye(reason="drained"))
    assert ForgetWorker(worker_id) in story.wait(0.0)
    assert story.engine_state(engine_id) is EngineState.CLOSED
    assert not loads(story.enrolls(token, "?fresh"))


def test_idle_engine_closes_for_one_that_waits_for_a_worker_of_its_pool_and_no_second_one_does():
    story, token = pool_story()
    idle = [story.engine(pool="lab", name=name) for name in ("one", "two")]
    for number, engine_id in enumerate(idle):
        worker_id = story.member(token, f"?{number}")
        job_id = story.submit(engine_id)
        story.ready(worker_id)
        story.make(job_id)
        story.wait(1.0)
    third = story.engine(pool="lab")
    job_id = story.submit(third)
    assert [story.engine_state(one) for one in idle] == [EngineState.STOPPING, EngineState.READY]
    story.say(story.keys["?0"], wire.Goodbye(reason="drained"))
    story.wait(10.0)
    assert [story.engine_state(one) for one in idle] == [EngineState.CLOSED, EngineState.READY]
    story.ready(story.member(token, "?fresh"))
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_pinned_engine_keeps_its_worker_though_another_one_waits():
    story, token = pool_story()
    pinned = story.engine(pool="lab", start=True)
    story.ready(story.member(token))
    waiting = story.engine(pool="lab")
    story.submit(waiting)
    story.wait(600.0)
    assert story.engine_state(pinned) is EngineState.READY
    assert story.engine_state(waiting) is EngineState.CLOSED


def test_replicas_are_workers_of_the_pool_as_they_come():
    story, token = pool_story()
    engine_id = story.engine(pool="lab", start=True, replicas=2)
    for key in ("?one", "?two", "?three"):
        story.member(token, key)
    assert [story.engine_of.get(story.keys[key]) for key in ("?one", "?two", "?three")] == [
        engine_id,
        engine_id,
        None,
    ]


def test_silent_worker_is_given_up_and_its_job_goes_to_another():
    story, token = pool_story()
    engine_id = story.engine(pool="lab")
    worker_id = story.member(token, "?one")
    job_id = story.submit(engine_id)
    story.ready(worker_id)
    story.pinging.clear()
    found = story.wait(5.1)
    assert ForgetWorker(worker_id) in found
    assert not only(found, LaunchWorker)
    assert story.job_state(job_id) is JobState.WAITING
    story.wait(2.0)
    story.ready(story.member(token, "?two"))
    story.make(job_id)
    assert story.job_state(job_id) is JobState.FINISHED


def test_cordoned_worker_finishes_its_job_and_another_one_gets_the_next():
    story, token = pool_story()
    engine_id = story.engine(pool="lab", start=True)
    old = story.member(token, "?one")
    story.ready(old)
    first = story.submit(engine_id)
    story.ask(CordonWorker(worker_id=old, is_cordoned=True))
    new = story.member(token, "?two")
    second = story.submit(engine_id)
    story.ready(new)
    assert story.gives[second].worker_id == new
    story.make(first)
    assert story.job_state(first) is JobState.FINISHED


def test_cordoned_worker_gets_no_engine_until_it_is_uncordoned():
    story, token = pool_story()
    worker_id = story.member(token)
    story.ask(CordonWorker(worker_id=worker_id, is_cordoned=True))
    story.engine(pool="lab", start=True)
    assert worker_id not in story.engine_of
    story.ask(CordonWorker(worker_id=worker_id, is_cordoned=False))
    assert worker_id in story.engine_of


def test_drained_worker_makes_its_job_and_leaves_for_good_while_another_takes_over():
    story, token = pool_story()
    engine_id = story.engine(pool="lab", start=True)
    old = story.member(token, "?one")
    story.ready(old)
    job_id = story.submit(engine_id)
    found = story.ask_actions(DrainWorker(worker_id=old))
    assert wire.Drain(for_good=True) in orders_to(found, old)
    assert story.job_state(job_id) is JobState.PROCESSING
    new = story.member(token, "?two")
    assert story.engine_of[new] == engine_id
    story.make(job_id)
    story.say(old, wire.Goodbye(reason="drained for good"))
    story.wait(0.0)
    assert list(story.broker.world.workers) == [new]


def test_revoked_worker_is_cut_off_and_its_job_waits_without_blame():
    story, token = pool_story()
    engine_id = story.engine(pool="lab")
    worker_id = story.member(token)
    job_id = story.submit(engine_id)
    story.ready(worker_id)
    found = story.ask_actions(RevokeWorker(worker_id=worker_id))
    (refuse,) = orders_to(found, worker_id)
    assert isinstance(refuse, wire.Refuse)
    assert refuse.code == "worker_revoked"
    assert ForgetWorker(worker_id) in found
    assert (story.job_state(job_id), story.job(job_id).crashes) == (JobState.WAITING, 0)


def test_revoked_token_cuts_off_its_workers_and_no_others():
    story, token = pool_story()
    kept = story.member(story.token(), "?kept")
    story.member(token, "?one")
    story.member(token, "?two")
    token_id = min(story.database.worker_tokens)
    found = story.ask_actions(RevokeWorkerToken(token_id=token_id))
    codes = [one.message.code for one in only(found, actions.Order) if isinstance(one.message, wire.Refuse)]
    assert codes == ["token_revoked"] * 2
    assert list(story.broker.world.workers) == [kept]
    assert refusal(story.enrolls(token, "?one")).code == "token_revoked"


def test_worker_of_this_host_is_not_drained_by_its_name():
    story = Story()
    _, worker_id = story.running_engine()
    assert story.refusal(DrainWorker(worker_id=worker_id)).code == "illegal_move"
    assert story.refusal(RevokeWorker(worker_id="w9-9")).code == "worker_not_found"
    assert story.refusal(RevokeWorkerToken(token_id="none")).code == "token_not_found"


def test_engine_that_moves_to_a_pool_is_loaded_there():
    story, token = pool_story()
    engine_id, here = story.running_engine()
    there = story.member(token)
    reply = story.ask(client.EditEngine(engine_id=engine_id, fields=("pool",), spec=_in_pool()))
    assert isinstance(reply, client.EngineAccepted)
    assert reply.reloads
    story.exits(here)
    assert story.engine_of[there] == engine_id


def _in_pool() -> object:
    return spec(pool="lab")


def test_check_of_an_engine_of_a_pool_says_whether_a_worker_is_free():
    story, token = pool_story()
    ask = client.CreateEngine(spec=_in_pool(), validate_only=True)
    before = story.ask(ask)
    story.member(token)
    after = story.ask(ask)
    assert (before.fits, after.fits) == (False, True)
    assert "pool lab" in before.detail


def test_enrolled_worker_cannot_pass_for_one_of_this_host():
    story, token = pool_story()
    worker_id = story.member(token)
    hello = wire.Hello(
        role=WorkerRole.ENGINE, worker_id=worker_id, token="", version=VERSION, pid=1, host="there"
    )
    assert not story.say(worker_id, hello)
