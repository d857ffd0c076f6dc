"""Which device each worker of an engine gets on a host with several."""

from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from tests.unit.core.samples import device, heavy, spec
from tests.unit.core.story import Story, orders_to

GB = 1_000_000_000
LIMITS = Limits(max_running=9, keep_alive_s=1000.0, turn_s=60.0)
MODELS = (heavy("one", GB), heavy("two", 2 * GB), heavy("four", 4 * GB))


def story_on(*devices):
    return Story(*MODELS, limits=LIMITS, devices=devices)


def places(story):
    """The devices of the workers that are launched and have not said hello, in the order of their launch."""
    return [story.broker.world.workers[worker_id].reservation.device for worker_id in story.newcomers]


def test_replicas_go_to_devices_without_one_though_another_device_has_more_memory_left():
    story = story_on(device("cuda:0", 80 * GB), device("cuda:1", 24 * GB), device("cuda:2", 40 * GB))
    story.engine(start=True, checkpoint="four", replicas=3)
    assert places(story) == ["cuda:0", "cuda:2", "cuda:1"]


def test_further_replicas_share_devices_evenly():
    story = story_on(device("cuda:0", 80 * GB), device("cuda:1", 40 * GB))
    story.engine(start=True, checkpoint="four", replicas=4)
    assert places(story) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


def test_device_that_cannot_hold_a_replica_is_passed_over_for_one_that_can():
    story = story_on(device("cuda:0", 80 * GB), device("cuda:1", 2 * GB))
    story.engine(start=True, checkpoint="four", replicas=2)
    assert places(story) == ["cuda:0", "cuda:0"]


def test_engines_without_replicas_go_where_most_memory_is_left_after_promises():
    story = story_on(device("cuda:0", 20 * GB), device("cuda:1", 19 * GB))
    for _ in range(2):
        story.engine(start=True, checkpoint="four")
    assert places(story) == ["cuda:0", "cuda:1"]


def test_named_device_gets_all_replicas_and_the_kind_cuda_means_any_of_them():
    story = story_on(device("cuda:0", 40 * GB), device("cuda:1", 60 * GB), device("cpu", 64 * GB))
    story.engine(start=True, checkpoint="four", device="cuda:0", replicas=2)
    assert places(story) == ["cuda:0", "cuda:0"]
    story.engine(start=True, checkpoint="four", device="cuda", replicas=2)
    assert places(story)[2:] == ["cuda:1", "cuda:0"]


def test_cuda_on_a_host_without_a_gpu_is_refused():
    story = story_on(device("cpu", 64 * GB))
    refused = story.refusal(client.CreateEngine(spec=spec(checkpoint="one", device="cuda")))
    assert [problem.field for problem in refused.fields] == ["device"]


def test_worker_is_told_the_device_that_was_chosen_and_not_the_kind():
    story = story_on(device("cuda:0", 20 * GB), device("cuda:1", 60 * GB))
    story.engine(start=True, checkpoint="four", device="cuda")
    (worker_id,) = story.newcomers
    loads = [o for o in orders_to(story.hello(worker_id), worker_id) if isinstance(o, wire.LoadEngine)]
    assert [order.load.device for order in loads] == ["cuda:1"]


def test_replica_that_died_comes_back_on_the_device_that_it_left():
    story = story_on(device("cuda:0", 80 * GB), device("cuda:1", 40 * GB))
    story.engine(start=True, checkpoint="four", replicas=2)
    story.up(), story.up()
    (lost,) = [w.worker_id for w in story.broker.world.workers.values() if w.reservation.device == "cuda:1"]
    story.exits(lost)
    story.wait(60.0)
    assert places(story) == ["cuda:1"]
