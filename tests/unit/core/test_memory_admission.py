"""Whether an engine may start: its need against what devices have, and what is promised to others."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from kernel.core.actions import CompareMemory, LaunchWorker, Reply
from kernel.core.events import DiskSwept
from kernel.core.memory_model.memory_demand import PROCESS_BYTES
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState, MemoryPlan, MemoryRemedy, ModelPart
from kernel.protocol.memory import MemoryProfile, PartWeights, VaeLayout
from tests.unit.core.samples import checkpoint, device, heavy, spec
from tests.unit.core.story import Story, only, orders_to

GB = 1_000_000_000
LIMITS = Limits(max_running=9, keep_alive_s=1000.0, turn_s=60.0)
MODELS = (heavy("one", GB), heavy("two", 2 * GB), heavy("four", 4 * GB), heavy("nine", 9 * GB))


def story_on(*devices, limits=LIMITS, models=MODELS):
    return Story(*models, limits=limits, devices=devices)


def loaded(story, worker_id):
    """What the worker is told to load."""
    (order,) = [o for o in orders_to(story.hello(worker_id), worker_id) if isinstance(o, wire.LoadEngine)]
    return order.load


def test_engine_larger_than_the_device_is_refused_with_numbers_before_anything_is_saved():
    story = story_on(device("cpu", 8 * GB))
    refused = story.refusal(client.CreateEngine(spec=spec(checkpoint="nine")))
    assert refused.code == "not_enough_memory"
    assert refused.shortage.device == "cpu"
    assert refused.shortage.needed_bytes > 9 * GB
    assert (refused.shortage.free_bytes, refused.shortage.total_bytes) == (8 * GB, 8 * GB)
    assert "needs 9.9 GB" in refused.detail
    assert not story.database.engines


def test_memory_that_only_other_programs_can_give_is_told_as_such():
    story = story_on(device("cpu", GB, total=20 * GB))
    refused = story.refusal(client.CreateEngine(spec=spec(checkpoint="four")))
    assert refused.shortage.remedies == ()
    assert "close other programs that use memory on cpu" in refused.detail


def test_memory_is_promised_from_the_launch_on_although_nobody_uses_it_yet():
    story = story_on(device("cpu", 8 * GB))
    story.engine(start=True, checkpoint="four")
    refused = story.refusal(client.CreateEngine(spec=spec(checkpoint="four")))
    assert refused.code == "not_enough_memory"
    assert refused.shortage.free_bytes < 4 * GB


def test_what_a_running_engine_holds_is_not_counted_a_second_time():
    story = story_on(device("cpu", 11 * GB))
    story.running_engine(checkpoint="four")
    (worker_id,) = story.broker.world.workers
    held = {worker_id.replace("-", "_"): 4 * GB}
    story.devices = (device("cpu", 7 * GB, total=11 * GB, **held),)
    story.engine(start=True, checkpoint="four")
    assert len(story.newcomers) == 1


def test_what_a_worker_says_to_hold_counts_where_the_system_does_not_tell():
    story = story_on(device("cpu", 11 * GB))
    engine_id = story.engine(start=True, checkpoint="four")
    worker_id = story.newcomers[0]
    story.hello(worker_id)
    ready = wire.EngineReady(engine_id=engine_id, device="cpu", memory_bytes=4 * GB, capacity=1)
    story.say(worker_id, ready)
    story.wait(1.0)
    story.devices = (device("cpu", 7 * GB, total=11 * GB),)
    story.engine(start=True, checkpoint="four")
    assert len(story.newcomers) == 1


def test_worker_that_holds_more_than_was_predicted_counts_with_what_it_holds():
    story = story_on(device("cpu", 10 * GB))
    story.running_engine(checkpoint="one")
    story.devices = (device("cpu", 3 * GB, total=10 * GB, w1_1=7 * GB),)
    assert story.refusal(client.CreateEngine(spec=spec(checkpoint="four"))).shortage.free_bytes == 3 * GB


def test_memory_that_other_programs_use_is_not_ours_to_give():
    story = story_on(device("cpu", 3 * GB, total=16 * GB))
    refused = story.refusal(client.CreateEngine(spec=spec(checkpoint="four")))
    assert (refused.shortage.free_bytes, refused.shortage.total_bytes) == (3 * GB, 16 * GB)


def test_some_memory_can_be_kept_free_for_others():
    limits = replace(LIMITS, keep_free_bytes=5 * GB)
    story = story_on(device("cpu", 8 * GB), limits=limits)
    assert story.refusal(client.CreateEngine(spec=spec(checkpoint="four"))).shortage.free_bytes == 3 * GB


def test_refusal_names_each_engine_whose_end_would_be_enough_and_what_it_frees():
    story = story_on(device("cpu", 8 * GB))
    big = story.engine(start=True, checkpoint="four", name="portraits")
    story.engine(start=True, checkpoint="one", name="sketches")
    (remedy,) = story.refusal(client.CreateEngine(spec=spec(checkpoint="four"))).shortage.remedies
    assert (remedy.what, remedy.engine_id) == (MemoryRemedy.STOP_ENGINE, big)
    assert remedy.frees_bytes > 4 * GB
    assert "portraits" in remedy.text


def test_refusal_names_all_engines_when_only_together_they_are_enough():
    story = story_on(device("cpu", 11 * GB))
    for name in ("a", "b", "c"):
        story.engine(start=True, checkpoint="two", name=name)
    remedies = story.refusal(client.CreateEngine(spec=spec(checkpoint="nine"))).shortage.remedies
    assert len(remedies) == 3
    assert all("not enough on its own" in remedy.text for remedy in remedies)


def drawing(size_bytes=GB):
    """A checkpoint with a VAE, so that the size of its pictures counts."""
    parts = (PartWeights(part=ModelPart.UNET, parameters=size_bytes // 4, stored_bytes=size_bytes),)
    vae = VaeLayout(channels=(128, 256, 512, 512), resnets_per_level=2, latent_channels=4)
    return changed(checkpoint("drawing"), memory=MemoryProfile(parts=parts, vae=vae))


def test_refusal_says_which_size_and_precision_would_fit():
    story = story_on(device("cpu", 2 * GB), models=(drawing(),))
    ask = client.CreateEngine(spec=spec(checkpoint="drawing", width_px=4096, height_px=2048))
    remedies = {remedy.what: remedy.text for remedy in story.refusal(ask).shortage.remedies}
    assert MemoryRemedy.SMALLER_SIZE in remedies
    width, height = (int(w) for w in remedies[MemoryRemedy.SMALLER_SIZE].split() if w.isdigit())
    assert width > height
    fits = client.CreateEngine(spec=spec(checkpoint="drawing", width_px=width, height_px=height))
    assert isinstance(story.ask(fits), client.EngineAccepted)


def test_large_pictures_are_decoded_in_tiles_where_there_is_no_memory_for_the_whole():
    story = story_on(device("cpu", 18 * GB), models=(drawing(),))
    story.engine(start=True, checkpoint="drawing", width_px=2048, height_px=2048)
    assert loaded(story, story.newcomers[0]).plan is MemoryPlan.TILED
    roomy = story_on(device("cpu", 50 * GB), models=(drawing(),))
    roomy.engine(start=True, checkpoint="drawing", width_px=2048, height_px=2048)
    assert loaded(roomy, roomy.newcomers[0]).plan is MemoryPlan.FAST


def test_worker_is_told_the_device_and_how_many_pictures_fit():
    story = story_on(device("cuda:0", 4 * GB), device("cuda:1", 6 * GB))
    story.engine(start=True, checkpoint="four")
    load = loaded(story, story.newcomers[0])
    assert (load.device, load.max_batch) == ("cuda:1", 8)


def test_engines_spread_over_the_devices_by_what_is_free_of_them():
    story = story_on(device("cuda:0", 6 * GB), device("cuda:1", 5 * GB))
    for _ in range(2):
        story.engine(start=True, checkpoint="four")
    assert [loaded(story, w).device for w in list(story.newcomers)] == ["cuda:0", "cuda:1"]


def test_engine_that_must_run_on_the_cpu_does_not_take_a_gpus_memory():
    story = story_on(device("cuda:0", 6 * GB), device("cpu", 6 * GB))
    story.engine(start=True, checkpoint="four", device="cpu")
    story.engine(start=True, checkpoint="four")
    assert [loaded(story, w).device for w in list(story.newcomers)] == ["cpu", "cuda:0"]


@pytest.mark.parametrize("name", ["cuda:0", "cuda:7"])
def test_device_that_this_host_does_not_have_is_refused_by_its_field(name):
    story = story_on(device("cpu", 6 * GB))
    refused = story.refusal(client.CreateEngine(spec=spec(checkpoint="one", device=name)))
    assert (refused.code, refused.fields[0].field) == ("invalid_field", "device")
    assert "its devices are cpu" in refused.detail


def test_engine_for_a_device_of_another_host_can_be_created_without_starting_it():
    story = story_on(device("cpu", 6 * GB))
    engine_id = story.engine(checkpoint="one", device="cuda:3")
    assert story.refusal(client.StartEngine(engine_id=engine_id)).code == "invalid_field"


def test_job_for_an_engine_on_a_missing_device_waits_with_the_words_of_a_start_and_launches_nothing():
    story = story_on(device("cpu", 6 * GB))
    engine_id = story.engine(checkpoint="one", device="cuda:7")
    job_id = story.submit(engine_id)
    row = story.engine_row(engine_id)
    assert (story.job_state(job_id), row.error_code) == (JobState.WAITING, "device_unavailable")
    assert row.error == "this host has no device cuda:7; its devices are cpu"
    assert row.error in story.refusal(client.StartEngine(engine_id=engine_id)).detail
    assert not story.newcomers


def test_replicas_are_launched_as_far_as_they_fit_and_later_when_they_do():
    story = story_on(device("cpu", 11 * GB))
    engine_id = story.engine(start=True, checkpoint="four", replicas=3)
    assert len(story.newcomers) == 2
    worker_id = story.up()
    story.devices = (device("cpu", 30 * GB),)
    story.tell(DiskSwept(free_bytes=1 << 40, devices=story.devices))
    story.make(story.submit(engine_id))
    assert len(story.newcomers) == 2, "the second one and, now, the third"
    assert worker_id not in story.newcomers


def test_job_for_an_engine_that_no_device_can_hold_waits_with_the_numbers():
    story = story_on(device("cpu", 8 * GB))
    engine_id = story.engine(checkpoint="nine")
    for _ in range(2):
        job_id = story.submit(engine_id)
        assert story.job_state(job_id) is JobState.WAITING
        row = story.engine_row(engine_id)
        assert row.error_code == "not_enough_memory"
        assert "needs 9.9 GB" in (row.error or "")
    assert story.engine_state(engine_id) is EngineState.ERROR
    assert not story.newcomers


def test_job_waits_while_other_programs_have_the_memory_and_its_engine_says_so():
    story = story_on(device("cpu", 3 * GB, total=16 * GB))
    engine_id = story.engine(checkpoint="four")
    job_id = story.submit(engine_id)
    assert story.job_state(job_id) is JobState.WAITING
    assert story.engine_row(engine_id).waits_since_ms == story.now.unix_ms
    story.wait(30.0)
    found = story.tell(DiskSwept(free_bytes=1 << 40, devices=(device("cpu", 9 * GB, total=16 * GB),)))
    assert len(only(found, LaunchWorker)) == 1
    assert story.engine_row(engine_id).waits_since_ms is None


def test_prediction_is_compared_with_what_the_worker_says_once_it_has_loaded():
    story = story_on(device("cpu", 6 * GB))
    story.engine(start=True, checkpoint="four")
    story.hello(story.newcomers[0])
    (compared,) = only(story.ready("w1-1"), CompareMemory)
    assert compared.reported_bytes == 1
    assert compared.reservation.weights_bytes == 4 * GB
    assert compared.reservation.need.bytes > 4 * GB + PROCESS_BYTES["cpu"]


def test_waiting_of_a_former_life_is_forgotten_at_the_start():
    story = story_on(device("cpu", 3 * GB, total=16 * GB))
    engine_id = story.engine(checkpoint="four")
    story.submit(engine_id)
    story.ask(client.StopEngine(engine_id=engine_id))
    assert story.engine_row(engine_id).waits_since_ms is None
    story.submit(engine_id)
    story.devices = (device("cpu", 9 * GB, total=16 * GB),)
    story.begin()
    assert story.engine_row(engine_id).waits_since_ms is None
    assert story.engine_state(engine_id) is EngineState.STARTING


def dry_run(checkpoint_id: str, *, start: bool = True, **values: object) -> client.CreateEngine:
    return client.CreateEngine(spec=spec(checkpoint=checkpoint_id, **values), start=start, validate_only=True)


def test_dry_run_says_how_the_engine_would_fit_and_changes_nothing():
    story = story_on(device("cuda:0", 20 * GB, total=24 * GB), device("cuda:1", 6 * GB))
    story.engine(start=True, checkpoint="two", device="cuda:0")
    before = story.database.engines.copy()
    found = story.ask_actions(dry_run("four", name="new"))
    valid = only(found, Reply)[0].message
    assert len(found) == 1  # no reply is stored
    assert (valid.fits, valid.closes, valid.detail, valid.shortage) == (True, (), None, None)
    first, second = valid.devices
    assert (first.device, first.total_bytes, second.device) == ("cuda:0", 24 * GB, "cuda:1")
    assert first.promised_bytes > GB  # in half precision
    assert first.free_bytes == 20 * GB - first.promised_bytes
    assert second.promised_bytes == 0
    for one in valid.devices:
        assert one.fits
        assert 2 * GB < one.needed_bytes <= one.taken_bytes <= one.free_bytes
    assert first.images >= second.images >= 1
    assert story.database.engines == before
    assert story.engine(name="new")  # the name is still free


def test_dry_run_says_the_same_as_the_start_that_follows_it():
    story = story_on(device("cuda:0", 9 * GB))
    (fit,) = story.ask(dry_run("four")).devices
    story.engine(start=True, checkpoint="four")
    worker_id = story.newcomers[0]
    load = loaded(story, worker_id)
    assert (load.device, load.plan, load.max_batch) == (fit.device, fit.plan, fit.images)
    worker = story.broker.world.workers[worker_id]
    assert worker.reservation.need.bytes == fit.taken_bytes


def test_dry_run_names_the_idle_engines_that_would_close():
    story = story_on(device("cpu", 8 * GB))
    idle = story.engine(checkpoint="four")
    job_id = story.submit(idle)
    story.up()
    story.make(job_id)
    valid = story.ask(dry_run("four"))
    assert (valid.fits, valid.closes) == (True, (idle,))
    assert not valid.devices[0].fits


def test_dry_run_of_a_start_without_memory_is_refused_like_the_start():
    story = story_on(device("cpu", 8 * GB))
    assert story.refusal(dry_run("nine")) == story.refusal(client.CreateEngine(spec=spec(checkpoint="nine")))


def test_dry_run_without_a_start_says_what_is_missing_instead():
    story = story_on(device("cpu", 8 * GB))
    valid = story.ask(dry_run("nine", start=False))
    refused = story.refusal(dry_run("nine"))
    assert (valid.fits, valid.detail, valid.shortage) == (False, refused.detail, refused.shortage)
    assert (valid.devices[0].fits, valid.devices[0].plan) == (False, None)
    absent = story.ask(dry_run("one", start=False, device="cuda:7"))
    assert (absent.fits, absent.devices) == (False, ())
    assert "no device cuda:7" in absent.detail
