"""How an engine is changed while it runs: what it takes live, what loads it again, and what is refused."""

import pytest
from msgspec.structs import replace

from kernel.core.actions import SaveEngine
from kernel.core.memory_model.memory_demand import demand_of, needs_of
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState, MemoryPlan, ModelBase, ModelType, Variant
from kernel.protocol.ids import EngineId, ModelId, WorkerId
from kernel.protocol.model_refs import LoraUse
from kernel.protocol.rows import EngineRow
from tests.unit.core.memory_demands import SD
from tests.unit.core.samples import CHECKPOINT, checkpoint, controlnet, device, heavy, model, spec, submit
from tests.unit.core.story import Story, only, orders_to

GB = 1 << 30
XL = replace(checkpoint(ModelId("xl")), model_base=ModelBase.SDXL)
OTHER = checkpoint(ModelId("other"))
WEIGHTY = replace(heavy("weighty", GB // 4), model_type=ModelType.LORA)
MODELS = (
    OTHER,
    XL,
    model("lora"),
    model("vae", ModelType.VAE),
    controlnet("canny"),
    heavy("big", 90 * GB),
    WEIGHTY,
)
HOST = Limits(keep_free_bytes=0)


def edit(engine_id: EngineId, **values: object) -> client.EditEngine:
    names = {"guidance_scale": "cfg", "width_px": "width"}
    return client.EditEngine(
        engine_id=engine_id,
        fields=tuple(names.get(name, name) for name in values),
        spec=spec(**values),
    )


def edited(story: Story, engine_id: EngineId, **values: object) -> bool:
    """Edit an engine. Returns: whether it reloads."""
    reply = story.ask(edit(engine_id, **values))
    assert isinstance(reply, client.EngineAccepted), reply
    assert story.engine_row(engine_id).spec == story.broker.world.engines[engine_id].row.spec
    return reply.reloads


def ended(story: Story, worker_id: WorkerId) -> None:
    story.say(worker_id, wire.Goodbye(reason="drained"))
    story.exits(worker_id, "exit code 0")


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 7, "guidance_scale": 2.0, "width_px": 64, "name": "new"},
        {"loras": (LoraUse(model_id="lora"),), "vae": "vae", "control_models": ("canny",)},
        {"keep_alive_s": 3.0, "autostart": False, "give_up_after_s": 1.0, "replicas": 1},
        {"device": "cpu", "dtype": Variant.FP32},
    ],
    ids=str,
)
def test_what_is_not_loaded_changes_on_the_worker_that_runs(values):
    story = Story(*MODELS, devices=(device("cpu", free=64 * GB),), limits=HOST)
    engine_id, worker_id = story.running_engine()
    waiting = [story.submit(engine_id) for _ in range(3)]
    assert not edited(story, engine_id, **values)
    assert story.engine_row(engine_id).spec == spec(**values)
    assert not story.newcomers
    for job_id in waiting:
        assert story.database.specs[job_id].steps == 25
        story.make(job_id)
    job_id = story.submit(engine_id)
    assert story.gives[job_id].worker_id == worker_id
    assert story.database.specs[job_id].steps == values.get("steps", 25)
    assert story.database.specs[job_id].loras == values.get("loras", ())


def test_a_null_is_the_default_and_what_is_not_named_stays():
    story = Story(*MODELS)
    engine_id = story.engine(name="a", steps=5, vae="vae")
    ask = client.EditEngine(engine_id=engine_id, fields=("vae", "name"), spec=spec(steps=9))
    assert isinstance(story.ask(ask), client.EngineAccepted)
    assert story.engine_row(engine_id).spec == spec(steps=5)
    assert story.engine_row(engine_id).name is None
    assert story.engine(name="a") != engine_id


def test_an_edit_that_changes_nothing_writes_nothing():
    story = Story(*MODELS)
    engine_id, _ = story.running_engine(steps=5)
    assert not only(story.ask_actions(edit(engine_id, steps=5, checkpoint=CHECKPOINT)), SaveEngine)


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"vae": "gone"}, "model_missing", "vae"),
        ({"loras": (LoraUse(model_id="vae"),)}, "wrong_model_type", "loras[0]"),
        ({"control_net": "canny"}, "invalid_field", "control_net"),
        ({"checkpoint": "lora"}, "wrong_model_type", "checkpoint"),
        ({"checkpoint": "xl"}, "wrong_model_base", "loras[0]"),
        ({"colour": 1}, "invalid_field", "fields"),
        ({"name": "taken"}, "name_taken", None),
    ],
    ids=str,
)
def test_a_wrong_edit_names_its_field_and_changes_nothing(values, code, field):
    story = Story(*MODELS)
    story.engine(name="taken")
    engine_id, _ = story.running_engine(loras=(LoraUse(model_id="lora"),))
    before = story.database.copy()
    known = {name: value for name, value in values.items() if name != "colour"}
    ask = replace(edit(engine_id, **known), fields=tuple(values))
    refused = story.refusal(ask)
    assert (refused.code, [one.field for one in refused.fields]) == (code, [field] if field else [])
    assert story.database.engines == before.engines
    assert story.refusal(edit(EngineId("none"), steps=1)).code == "engine_not_found"


def test_another_checkpoint_is_loaded_after_the_running_jobs_and_the_waiting_ones_stay():
    story = Story(*MODELS)
    engine_id, worker_id = story.running_engine()
    jobs = [story.submit(engine_id, seed=number) for number in range(4)]
    held = [job_id for job_id in jobs if story.job_state(job_id) is JobState.PROCESSING]
    found = story.ask_actions(edit(engine_id, checkpoint="other"))
    assert wire.Drain() in orders_to(found, worker_id)
    assert story.engine_state(engine_id) is EngineState.STOPPING
    for job_id in held:
        story.make(job_id)
    assert not story.newcomers
    ended(story, worker_id)
    assert story.engine_state(engine_id) is EngineState.STARTING
    story.up()
    for job_id in set(jobs) - set(held):
        story.make(job_id)
    made = {job_id: story.job(job_id).checkpoint for job_id in jobs}
    assert made == {job_id: CHECKPOINT if job_id in held else "other" for job_id in jobs}
    assert [story.job_state(job_id) for job_id in jobs] == [JobState.FINISHED] * 4


def test_an_idle_engine_is_loaded_again_and_stays_as_long_as_before():
    story = Story(*MODELS, limits=Limits(keep_alive_s=10.0))
    engine_id = story.created()
    worker_id = story.up()
    assert edited(story, engine_id, dtype=Variant.BF16)
    ended(story, worker_id)
    story.up()
    assert story.engine_state(engine_id) is EngineState.READY
    story.wait(11.0)
    assert story.engine_state(engine_id) is EngineState.STOPPING
    pinned, worker_id = story.running_engine()
    assert edited(story, pinned, checkpoint="other")
    ended(story, worker_id)
    story.up()
    story.wait(11.0)
    assert story.engine_state(pinned) is EngineState.READY


def test_an_engine_that_is_stopped_by_a_person_while_it_reloads_stays_closed():
    story = Story(*MODELS)
    engine_id, worker_id = story.running_engine()
    assert edited(story, engine_id, checkpoint="other")
    story.ask(client.StopEngine(engine_id=engine_id))
    ended(story, worker_id)
    assert story.engine_state(engine_id) is EngineState.CLOSED
    assert not story.newcomers


def test_a_closed_engine_takes_everything_at_once():
    story = Story(*MODELS)
    engine_id = story.engine()
    assert not edited(story, engine_id, checkpoint="other", dtype=Variant.BF16)
    story.submit(engine_id)
    loads = orders_to(story.hello(story.newcomers[0]), "w1-1")
    assert [one.load.checkpoint.model_id for one in loads if isinstance(one, wire.LoadEngine)] == ["other"]


def test_a_worker_that_is_loading_is_ended_for_another_checkpoint():
    story = Story(*MODELS)
    engine_id = story.engine(start=True)
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    assert edited(story, engine_id, checkpoint="other")
    story.exits(worker_id, "signal SIGTERM")
    assert story.engine_row(engine_id).error is None
    assert len(story.newcomers) == 1


def test_jobs_that_named_the_checkpoint_keep_it():
    story = Story(*MODELS)
    reply = story.ask(replace(submit(EngineId("")), engine_id=None, checkpoint=CHECKPOINT))
    engine_id = story.job(reply.job_id).engine_id
    refused = story.refusal(edit(engine_id, checkpoint="other"))
    assert (refused.code, refused.fields[0].field) == ("illegal_move", "checkpoint")
    assert "open jobs that named the present checkpoint: 1" in refused.detail
    assert not edited(story, engine_id, steps=3)
    story.begin()
    assert story.refusal(edit(engine_id, checkpoint="other")).code == "illegal_move"
    story.ask(client.CancelJob(job_id=reply.job_id))
    assert isinstance(story.ask(edit(engine_id, checkpoint="other")), client.EngineAccepted)


def test_another_base_waits_until_no_job_is_open():
    story = Story(*MODELS)
    engine_id, _ = story.running_engine()
    job_id = story.submit(engine_id)
    refused = story.refusal(edit(engine_id, checkpoint="xl"))
    assert (refused.code, refused.fields[0].field) == ("illegal_move", "checkpoint")
    assert "accepted for sd: 1, but this is sdxl" in refused.detail
    story.make(job_id)
    assert edited(story, engine_id, checkpoint="xl")


def test_an_engine_in_error_is_tried_again_after_an_edit():
    story = Story(*MODELS)
    engine_id, worker_id = story.running_engine(vae="vae")
    story.ask(client.StopEngine(engine_id=engine_id, now=True))
    ended(story, worker_id)
    story.submit(engine_id)
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    story.say(worker_id, wire.EngineFailed(engine_id=engine_id, code="model_unreadable", text="bad VAE"))
    story.exits(worker_id)
    assert story.engine_state(engine_id) is EngineState.ERROR
    assert not story.newcomers
    assert not edited(story, engine_id, vae="checkpoint")
    assert story.engine_state(engine_id) is EngineState.STARTING


def test_keep_alive_counts_from_when_the_engine_became_idle():
    story = Story(*MODELS, limits=Limits(keep_alive_s=100.0))
    engine_id = story.created()
    story.up()
    story.wait(50.0)
    edited(story, engine_id, keep_alive_s=60.0)
    story.wait(9.0)
    assert story.engine_state(engine_id) is EngineState.READY
    story.wait(2.0)
    assert story.engine_state(engine_id) is EngineState.STOPPING


def test_replicas_come_and_go_while_the_others_work():
    story = Story(*MODELS)
    engine_id, first = story.running_engine()
    assert not edited(story, engine_id, replicas=3)
    second = story.up()
    third = story.newcomers[0]
    job_id = story.submit(engine_id)
    busy = story.gives[job_id].worker_id
    found = story.ask_actions(edit(engine_id, replicas=1))
    idle = second if busy == first else first
    assert wire.Drain() in orders_to(found, idle)
    assert wire.Drain() not in orders_to(found, busy)
    story.exits(third, "signal SIGTERM")
    ended(story, idle)
    story.make(job_id)
    assert story.engine_row(engine_id).status is EngineState.READY
    assert not story.newcomers


# Memory.


def reserved(story: Story) -> list[tuple[int, int]]:
    workers = story.broker.world.workers.values()
    needs = [worker.reservation.need for worker in workers if worker.reservation]
    return [(need.batch_size, need.bytes) for need in needs]


def test_a_model_that_is_added_live_is_promised_its_memory():
    lora = replace(heavy("heavy", GB), model_type=ModelType.LORA)
    story = Story(*MODELS, lora, devices=(device("cpu", free=64 * GB),), limits=HOST)
    engine_id, _ = story.running_engine()
    ((_, before),) = reserved(story)
    assert not edited(story, engine_id, loras=(LoraUse(model_id="heavy"),))
    ((_, after),) = reserved(story)
    assert after - before >= GB
    assert not edited(story, engine_id, loras=())
    assert reserved(story)[0][1] == before


def on_a_host_for(plan: MemoryPlan, images: int, **values: object) -> tuple[Story, EngineId, WorkerId]:
    """A running engine of full size on a host with memory for just so many images together."""
    full = replace(checkpoint(ModelId("full")), memory=SD.profile)
    row = EngineRow(EngineId("e"), None, spec(checkpoint="full", **values), EngineState.CLOSED, 0)
    size = needs_of(demand_of(row, {"full": full}), "cpu", plan)[images - 1]
    story = Story(*MODELS, full, devices=(device("cpu", free=size),))
    engine_id, worker_id = story.running_engine(checkpoint="full", **values)
    return story, engine_id, worker_id


def test_fewer_images_together_make_room_for_what_is_added():
    story, engine_id, worker_id = on_a_host_for(MemoryPlan.FAST, 4)
    assert reserved(story)[0][0] == 4
    found = story.ask_actions(edit(engine_id, checkpoint="full", control_models=("canny",)))
    (order,) = [one for one in orders_to(found, worker_id) if isinstance(one, wire.AdjustEngine)]
    assert 1 <= order.max_batch < 4
    assert reserved(story)[0][0] == order.max_batch
    assert story.engine_state(engine_id) is EngineState.READY


def test_what_fits_only_under_another_plan_is_loaded_again_with_it():
    story, engine_id, worker_id = on_a_host_for(MemoryPlan.FAST, 1, width_px=1024, height_px=1024)
    values = {"loras": (LoraUse(model_id="weighty"),)}
    assert edited(story, engine_id, **values)
    ended(story, worker_id)
    orders = orders_to(story.hello(story.newcomers[0]), "w1-2")
    assert [one.load.plan for one in orders if isinstance(one, wire.LoadEngine)] == [MemoryPlan.TILED]


def test_what_does_not_fit_at_all_is_refused_with_the_numbers():
    story, engine_id, _ = on_a_host_for(MemoryPlan.FAST, 1)
    refused = story.refusal(edit(engine_id, checkpoint="big", control_models=("canny",)))
    assert refused.code == "not_enough_memory"
    assert refused.shortage is not None
    assert story.engine_state(engine_id) is EngineState.READY
    assert story.engine_row(engine_id).spec.checkpoint == "full"


def test_max_batch_is_told_to_the_worker_that_runs():
    story = Story(*MODELS, devices=(device("cpu", free=64 * GB),), limits=HOST)
    engine_id, worker_id = story.running_engine(capacity=4)
    found = story.ask_actions(edit(engine_id, max_batch=2))
    assert wire.AdjustEngine(max_batch=2) in orders_to(found, worker_id)
    assert reserved(story)[0][0] == 2
    jobs = [story.submit(engine_id) for _ in range(5)]
    assert sum(story.job_state(job_id) is JobState.PROCESSING for job_id in jobs) == 3
    found = story.ask_actions(edit(engine_id, max_batch=1))
    assert wire.AdjustEngine(max_batch=1) in orders_to(found, worker_id)
    for job_id, still_waiting in zip(jobs, (2, 1, 0), strict=False):
        story.make(job_id)  # of three held jobs, where there are places for two from now on
        assert sum(story.job_state(job_id) is JobState.WAITING for job_id in jobs) == still_waiting


@pytest.mark.parametrize("devices", [(), (device("cpu", free=64 * GB),)])
def test_max_batch_reaches_a_worker_that_is_loading_when_it_is_ready(devices):
    story = Story(*MODELS, devices=devices, limits=HOST)
    engine_id = story.engine(start=True)
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    assert not edited(story, engine_id, max_batch=2)
    assert wire.AdjustEngine(max_batch=2) in orders_to(story.ready(worker_id, capacity=4), worker_id)
