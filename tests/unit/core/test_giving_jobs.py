"""Which job goes to which worker, when, and with what in it."""

import pytest
from msgspec.structs import replace

from kernel.core.actions import GiveJob, SaveJob
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol.enums import ImageFileType, JobState, ModelBase, Scheduler
from kernel.protocol.specs import JobRequest
from tests.unit.core.samples import checkpoint, submit
from tests.unit.core.story import Story, only


def test_job_is_saved_as_processing_before_it_is_sent():
    story = Story()
    engine_id, worker_id = story.running_engine()
    found = story.ask_actions(submit(engine_id))
    give = only(found, GiveJob)[0]
    saves = [a for a in found[: found.index(give)] if isinstance(a, SaveJob)]
    assert saves[-1].row.status is JobState.PROCESSING
    assert (give.worker_id, give.attempt, give.positions) == (worker_id, 1, (0,))
    assert give.image_ids == story.job(give.job_id).image_ids


def test_worker_holds_one_job_more_than_it_steps():
    story = Story()
    engine_id, _ = story.running_engine(capacity=2)
    jobs = [story.submit(engine_id) for _ in range(5)]
    assert list(story.gives) == jobs[:3]


def test_jobs_that_arrive_while_the_engine_is_busy_are_sent_as_soon_as_it_is_free():
    story = Story()
    engine_id, _ = story.running_engine()
    jobs = [story.submit(engine_id) for _ in range(4)]
    for finished, next_one in zip(jobs[:2], jobs[2:], strict=True):
        assert next_one not in story.gives
        assert [give.job_id for give in only(story.make(finished), GiveJob)] == [next_one]


def test_higher_priority_goes_first_and_equal_ones_in_their_order():
    story = Story()
    engine_id = story.engine(autostart=False)
    low = story.submit(engine_id, priority=-1)
    first, second = story.submit(engine_id), story.submit(engine_id)
    urgent = story.submit(engine_id, priority=5)
    story.ask(client.StartEngine(engine_id=engine_id))
    story.up(capacity=8)
    assert list(story.gives) == [urgent, first, second, low]


def test_accepted_job_is_told_with_all_its_values_and_its_place_in_the_queue():
    story = Story()
    engine_id = story.engine(autostart=False, name="portraits")
    replies = [story.ask(submit(engine_id, priority=priority, steps=7)) for priority in (0, -1, 0, 5, -1)]
    assert all(isinstance(reply, client.JobAccepted) for reply in replies)
    assert [reply.jobs_ahead for reply in replies] == [0, 1, 1, 0, 4]
    last = replies[-1]
    assert (last.engine_id, last.status, last.priority) == (engine_id, JobState.WAITING, -1)
    assert last.spec == story.database.specs[last.job_id]
    assert last.spec.steps == 7
    assert last.names == {engine_id: "portraits"}


def test_job_that_a_worker_gets_at_once_is_told_as_processed():
    story = Story()
    engine_id, _ = story.running_engine()
    reply = story.ask(submit(engine_id))
    assert (reply.status, reply.attempts, reply.jobs_ahead) == (JobState.PROCESSING, 1, None)
    assert reply.started_at_ms == story.job(reply.job_id).started_at_ms is not None


def test_job_that_was_given_back_returns_to_its_old_place():
    story = Story()
    engine_id, worker_id = story.running_engine()
    jobs = [story.submit(engine_id) for _ in range(4)]
    story.ask(client.StopEngine(engine_id=engine_id, now=True))
    story.exits(worker_id, "exit code 0")
    story.gives.clear()
    story.ask(client.StartEngine(engine_id=engine_id))
    story.up(capacity=8)
    assert list(story.gives) == jobs
    assert [story.job(job_id).attempts for job_id in jobs] == [2, 2, 1, 1]


def test_every_giving_bears_a_higher_lease():
    story = Story()
    engine_id, worker_id = story.running_engine()
    job_id = story.submit(engine_id)
    other = story.submit(engine_id)
    assert story.gives[other].lease > story.gives[job_id].lease
    before = story.gives[other].lease
    story.exits(worker_id)
    story.up()
    assert story.gives[job_id].lease > before


def test_least_loaded_worker_gets_the_next_job():
    story = Story()
    engine_id = story.engine(start=True, replicas=2)
    first, second = story.up(capacity=4), story.up(capacity=4)
    jobs = [story.submit(engine_id) for _ in range(2)]
    story.make(jobs[1])
    third = story.submit(engine_id)
    assert [story.gives[j].worker_id for j in (jobs[0], jobs[1], third)] == [first, second, second]


def test_zero_is_a_value_and_not_missing():
    story = Story()
    engine_id = story.engine(guidance_scale=7.5)
    job_id = story.submit(engine_id, seed=0, guidance_scale=0.0, priority=0)
    spec = story.database.specs[job_id]
    assert (spec.seed, spec.guidance_scale) == (0, 0.0)
    assert story.job(job_id).seed == 0


def test_zero_steps_are_refused_and_not_replaced():
    story = Story()
    reply = story.refusal(submit(story.engine(), steps=0))
    assert [problem.field for problem in reply.fields] == ["steps"]


def test_what_a_job_leaves_open_comes_from_its_engine_and_then_from_the_checkpoint():
    story = Story()
    engine_id = story.engine(
        steps=11,
        guidance_scale=3.5,
        width_px=768,
        scheduler=Scheduler.DDIM,
        scheduler_config={"timestep_spacing": "trailing"},
    )
    spec = story.database.specs[story.submit(engine_id, prompt="a cat")]
    assert (spec.steps, spec.guidance_scale, spec.scheduler) == (11, 3.5, Scheduler.DDIM)
    assert (spec.width_px, spec.height_px) == (768, 512)
    assert spec.scheduler_config == {"timestep_spacing": "trailing"}


def test_an_engines_scheduler_options_are_not_forced_on_a_job_with_another_scheduler():
    story = Story()
    options = {"use_karras_sigmas": True}
    engine_id = story.engine(scheduler=Scheduler.EULER, scheduler_config=options)
    other, same, own = (
        story.database.specs[story.submit(engine_id, **asked)].scheduler_config
        for asked in (
            {"scheduler": Scheduler.DDIM},
            {"scheduler": Scheduler.EULER},
            {"scheduler": Scheduler.DDIM, "scheduler_config": {"steps_offset": 1}},
        )
    )
    assert (other, same, own) == ({}, options, {"steps_offset": 1})


def test_what_a_job_says_counts_before_what_its_engine_says():
    story = Story()
    engine_id = story.engine(steps=11, width_px=768, scheduler_config={"a": 1})
    own = JobRequest(
        negative_prompt="dogs",
        seed=7,
        steps=3,
        guidance_scale=1.0,
        width_px=64,
        height_px=128,
        scheduler=Scheduler.UNIPC,
        scheduler_config={},
        image_file_type=ImageFileType.WEBP,
    )
    reply = story.ask(client.SubmitJob(engine_id=engine_id, request=own))
    assert isinstance(reply, client.JobAccepted)
    spec = story.database.specs[reply.job_id]
    assert (spec.negative_prompt, spec.seed, spec.steps, spec.guidance_scale) == ("dogs", 7, 3, 1.0)
    assert (spec.width_px, spec.height_px, spec.scheduler) == (64, 128, Scheduler.UNIPC)
    assert (spec.scheduler_config, spec.image_file_type) == ({}, ImageFileType.WEBP)


@pytest.mark.parametrize(("base", "native_px", "size_px"), [
    (ModelBase.SD, None, 512),
    (ModelBase.SDXL, None, 1024),
    (None, None, 512),
    (ModelBase.SD, 768, 768),
])  # fmt: skip
def test_size_that_nobody_names_is_the_one_that_the_checkpoint_was_trained_at(base, native_px, size_px):
    story = Story(replace(checkpoint(), model_base=base, native_size_px=native_px))
    spec = story.database.specs[story.submit(story.engine())]
    assert (spec.width_px, spec.height_px) == (size_px, size_px)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("width_px", 63), ("width_px", 0), ("height_px", -8), ("height_px", 100), ("count", 0), ("steps", -1)],
)
def test_job_that_cannot_be_made_is_refused_with_the_name_of_the_field(field, wrong):
    story = Story()
    engine_id = story.engine()
    reply = story.refusal(submit(engine_id, **{field: wrong}))
    assert reply.code == "invalid_field"
    assert [problem.field for problem in reply.fields] == [field.removesuffix("_px")]
    assert not story.database.jobs


@pytest.mark.parametrize(
    ("field", "wrong", "right"),
    [
        ("seed", -1, 0),
        ("seed", 2**63, 2**63 - 1),
        ("guidance_scale", float("nan"), 0.0),
        ("guidance_scale", float("inf"), 100.0),
    ],
)
def test_number_that_the_database_cannot_hold_is_refused(field, wrong, right):
    story = Story()
    engine_id = story.engine()
    refused = story.refusal(submit(engine_id, **{field: wrong}))
    assert [problem.field for problem in refused.fields] == ["cfg" if field == "guidance_scale" else field]
    assert story.submit(engine_id, **{field: right})


def test_seed_of_every_picture_must_fit():
    story = Story()
    engine_id = story.engine()
    assert story.refusal(submit(engine_id, seed=2**63 - 2, count=3)).fields[0].field == "seed"
    assert story.submit(engine_id, seed=2**63 - 3, count=3)


@pytest.mark.parametrize("priority", [2**63, -(2**63)])
def test_priority_that_the_database_cannot_hold_is_refused(priority):
    story = Story()
    engine_id = story.engine()
    assert story.refusal(submit(engine_id, priority)).fields[0].field == "priority"
    sign = 1 if priority > 0 else -1
    assert story.submit(engine_id, priority - sign)


def test_picture_of_more_pixels_than_allowed_is_refused():
    story = Story(limits=Limits(max_pixels=64 * 64))
    engine_id = story.engine()
    assert isinstance(story.ask(submit(engine_id, width_px=64, height_px=72)), client.Refused)
    assert isinstance(story.ask(submit(engine_id, width_px=64, height_px=64)), client.JobAccepted)


def test_job_without_a_seed_gets_one_that_is_remembered():
    story = Story()
    engine_id = story.engine()
    jobs = [story.submit(engine_id), story.submit(engine_id)]
    assert story.job(jobs[0]).seed != story.job(jobs[1]).seed
    assert story.job(jobs[0]).seed == story.database.specs[jobs[0]].seed


def test_engine_is_found_by_its_name():
    story = Story()
    engine_id = story.engine(name="portraits")
    by_name = client.SubmitJob(engine_name="portraits", request=JobRequest())
    reply = story.ask(by_name)
    assert isinstance(reply, client.JobAccepted)
    assert story.job(reply.job_id).engine_id == engine_id
    unknown = story.ask(client.SubmitJob(engine_name="landscapes", request=JobRequest()))
    assert isinstance(unknown, client.Refused)
    assert unknown.code == "engine_not_found"


def test_job_that_is_only_to_be_checked_leaves_no_trace():
    story = Story()
    engine_id = story.engine()
    found = story.ask_actions(client.SubmitJob(engine_id=engine_id, request=JobRequest(), validate_only=True))
    assert [action.message for action in found] == [client.JobValid(engine_id=engine_id)]
    wrong = client.SubmitJob(engine_id=engine_id, request=JobRequest(steps=0), validate_only=True)
    assert isinstance(story.ask(wrong), client.Refused)


def test_several_pictures_of_a_job_are_named_at_once_and_made_under_one_lease():
    story = Story()
    engine_id, _ = story.running_engine()
    reply = story.ask(submit(engine_id, count=3))
    assert isinstance(reply, client.JobAccepted)
    assert len(set(reply.image_ids)) == 3
    assert story.gives[reply.job_id].positions == (0, 1, 2)
    story.make(reply.job_id)
    assert story.job_state(reply.job_id) is JobState.FINISHED
    assert set(story.database.images) == set(reply.image_ids)
