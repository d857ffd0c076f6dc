"""Who closes for whom where memory is scarce, and how engines take turns that all have work."""

from dataclasses import replace

import pytest

from kernel.core.events import DiskSwept
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, JobState
from tests.unit.core.samples import device, heavy
from tests.unit.core.story import Story, orders_to

GB = 1_000_000_000
LIMITS = Limits(max_running=9, keep_alive_s=1000.0, turn_s=60.0)
MODELS = (heavy("one", GB), heavy("two", 2 * GB), heavy("four", 4 * GB), heavy("seven", 7 * GB))


def story_with(gigabytes, limits=LIMITS):
    return Story(*MODELS, limits=limits, devices=(device("cpu", gigabytes * GB),))


def idle(story, checkpoint):
    """An engine on demand with nothing to do, and its worker."""
    engine_id = story.engine(checkpoint=checkpoint)
    job_id = story.submit(engine_id)
    worker_id = story.up()
    story.make(job_id)
    story.wait(1.0)
    assert story.engine_state(engine_id) is EngineState.READY
    return engine_id, worker_id


def busy(story, checkpoint, jobs=3):
    """An engine on demand at work, and its worker, which holds two of the jobs."""
    engine_id = story.engine(checkpoint=checkpoint)
    for _ in range(jobs):
        story.submit(engine_id)
    return engine_id, story.up()


def states(story, *engine_ids):
    return [story.engine_state(engine_id) for engine_id in engine_ids]


def test_only_as_many_idle_engines_close_as_memory_is_missing():
    story = story_with(11)
    first, second = (idle(story, "two")[0] for _ in range(2))
    third, _ = idle(story, "two")
    wanted = story.engine(checkpoint="four")
    story.submit(wanted)
    stopping, ready = EngineState.STOPPING, EngineState.READY
    assert states(story, first, second, third) == [stopping, ready, ready]


def test_idle_engine_that_turns_out_not_to_be_in_the_way_stays():
    story = story_with(9)
    small, _ = idle(story, "one")
    large, _ = idle(story, "four")
    story.submit(story.engine(checkpoint="four"))
    assert states(story, small, large) == [EngineState.READY, EngineState.STOPPING]


def test_engine_starts_as_soon_as_what_was_in_its_way_is_gone():
    story = story_with(6)
    _, worker_id = idle(story, "four")
    wanted = story.engine(checkpoint="four")
    story.submit(wanted)
    assert story.engine_row(wanted).waits_since_ms is not None
    story.exits(worker_id, "exit code 0")
    assert story.engine_state(wanted) is EngineState.STARTING
    assert story.engine_row(wanted).waits_since_ms is None


def test_nobody_closes_for_an_engine_that_would_not_fit_even_then():
    story = story_with(9)
    pinned = story.engine(start=True, checkpoint="four")
    story.up()
    small, _ = idle(story, "one")
    story.submit(story.engine(checkpoint="seven"))
    story.wait(500.0)
    assert states(story, pinned, small) == [EngineState.READY, EngineState.READY]


def test_pinned_engine_never_closes_for_another_one_however_long_that_waits():
    story = story_with(6)
    pinned, _ = story.running_engine(checkpoint="four")
    wanted = story.engine(checkpoint="four")
    job_id = story.submit(wanted)
    story.wait(5000.0)
    assert story.engine_state(pinned) is EngineState.READY
    assert story.job_state(job_id) is JobState.WAITING


def test_busy_engine_keeps_its_room_for_a_whole_turn():
    story = story_with(6)
    working, _ = busy(story, "four", jobs=9)
    story.submit(story.engine(checkpoint="four"))
    story.wait(59.0)
    assert story.engine_state(working) is EngineState.WORKING


def test_busy_engine_gives_way_after_its_turn_and_finishes_what_it_holds():
    story = story_with(6)
    working, worker_id = busy(story, "four", jobs=5)
    wanted = story.engine(checkpoint="four")
    job_id = story.submit(wanted)
    found = story.wait(61.0)
    assert wire.Drain() in orders_to(found, worker_id)
    held = [j for j in story.gives if story.job_state(j) is JobState.PROCESSING]
    assert len(held) == 2
    for held_id in held:
        story.make(held_id)
    assert [story.job_state(held_id) for held_id in held] == [JobState.FINISHED] * 2
    story.exits(worker_id, "exit code 0")
    assert states(story, working, wanted) == [EngineState.CLOSED, EngineState.STARTING]
    story.up()
    assert story.job_state(job_id) is JobState.PROCESSING


def test_two_engines_that_always_have_work_take_turns():
    story = story_with(6)
    one, worker_id = busy(story, "four", jobs=9)
    other = story.engine(checkpoint="four")
    for _ in range(9):
        story.submit(other)
    seen = []
    for _ in range(4):
        story.wait(61.0)
        running = next(e for e in (one, other) if story.engine_state(e) is EngineState.STOPPING)
        seen.append(running)
        for job_id in [j for j in story.gives if story.job_state(j) is JobState.PROCESSING]:
            story.make(job_id)
        story.exits(worker_id, "exit code 0")
        worker_id = story.up()
    assert seen == [one, other, one, other]


def test_turn_of_an_engine_begins_when_it_is_loaded():
    story = story_with(6)
    working = story.engine(checkpoint="four")
    story.submit(working)
    story.submit(story.engine(checkpoint="four"))
    story.hello(story.newcomers[0])
    story.wait(100.0)
    story.ready("w1-1")
    assert story.engine_state(working) is EngineState.WORKING
    story.wait(59.0)
    assert story.engine_state(working) is EngineState.WORKING
    story.wait(61.0)
    assert story.engine_state(working) is EngineState.STOPPING


def test_no_turn_ends_for_an_engine_that_would_not_fit_even_then():
    story = story_with(9)
    story.running_engine(checkpoint="four")
    working, _ = busy(story, "one", jobs=9)
    story.submit(story.engine(checkpoint="seven"))
    story.wait(500.0)
    assert story.engine_state(working) is EngineState.WORKING


def test_engines_take_turns_at_the_places_that_max_running_allows_too():
    story = story_with(100, replace(LIMITS, max_running=1))
    working, _ = busy(story, "one", jobs=9)
    story.submit(story.engine(checkpoint="one"))
    story.wait(61.0)
    assert story.engine_state(working) is EngineState.STOPPING


def test_small_engine_passes_a_large_one_that_nothing_can_help():
    story = story_with(9)
    story.running_engine(checkpoint="four")
    large, small = story.engine(checkpoint="seven"), story.engine(checkpoint="one")
    story.submit(large)
    story.submit(small)
    assert states(story, large, small) == [EngineState.CLOSED, EngineState.STARTING]


def test_small_engine_does_not_take_the_room_that_is_being_made_for_a_large_one():
    story = story_with(9)
    old, worker_id = idle(story, "four")
    large, small = story.engine(checkpoint="seven"), story.engine(checkpoint="one")
    story.submit(large)
    story.submit(small)
    assert states(story, old, large, small) == [EngineState.STOPPING, EngineState.CLOSED, EngineState.CLOSED]
    story.exits(worker_id, "exit code 0")
    assert story.engine_state(large) is EngineState.STARTING


def test_small_engine_may_have_what_the_large_one_ahead_leaves_over():
    story = story_with(12)
    story.tell(DiskSwept(free_bytes=1 << 40))
    idle(story, "seven")
    large, small = story.engine(checkpoint="seven"), story.engine(checkpoint="one")
    story.submit(large)
    story.submit(small)
    assert states(story, large, small) == [EngineState.CLOSED, EngineState.STARTING]


def test_person_gets_the_room_of_idle_engines_but_not_of_working_ones():
    story = story_with(6)
    on_demand, _ = busy(story, "four", jobs=1)
    other = story.engine(checkpoint="four")
    refused = story.refusal(client.StartEngine(engine_id=other))
    assert (refused.code, refused.shortage.remedies[0].engine_id) == ("not_enough_memory", on_demand)
    story.make(next(iter(story.gives)))
    assert isinstance(story.ask(client.StartEngine(engine_id=other)), client.EngineAccepted)
    assert story.engine_state(on_demand) is EngineState.STOPPING


@pytest.mark.parametrize("how", ["cancel", "stop", "delete"])
def test_engine_that_does_not_want_its_room_any_more_leaves_the_line(how):
    story = story_with(6)
    story.running_engine(checkpoint="four")
    wanted = story.engine(checkpoint="four")
    job_id = story.submit(wanted)
    match how:
        case "cancel":
            story.ask(client.CancelJob(job_id=job_id))
        case "stop":
            story.ask(client.StopEngine(engine_id=wanted))
        case "delete":
            story.ask(client.DeleteEngine(engine_id=wanted))
    assert not story.broker.world.admission_queue
    if how != "delete":
        assert story.engine_row(wanted).waits_since_ms is None
