"""Devices that the host cannot measure: a worker's word for its own is taken."""

import pytest

from kernel.core.events import DiskSwept
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.worker import WorkerDevice
from tests.unit.core.samples import device, heavy
from tests.unit.core.story import Story, orders_to

GB = 1_000_000_000
LIMITS = Limits(max_running=3, keep_alive_s=1000.0)
CPU = device("cpu", 64 * GB)
WEIGHTS = 4 * GB
"""Of `eight`, in half precision."""


class Told:
    """A host that knows its CPU, and an engine on a GPU that only its worker knows."""

    def __init__(self, wanted="xpu", *others):
        self.story = Story(heavy("eight", 2 * WEIGHTS), limits=LIMITS, devices=(CPU, *others))
        self.engine_id = self.story.engine(start=True, checkpoint="eight", device=wanted)
        (self.worker_id,) = self.story.newcomers

    def ready(self, name="xpu:0", free=10 * GB, total=16 * GB, worker_id=None, seen_name=None):
        worker_id = worker_id or self.worker_id
        self.story.hello(worker_id)
        seen = WorkerDevice(
            device=seen_name or name, name="Arc\nB580", total_bytes=total, free_bytes=free, capability=None
        )
        engine_id = self.story.engine_of[worker_id]
        report = wire.EngineReady(
            engine_id=engine_id, device=name, memory_bytes=WEIGHTS, capacity=2, seen=seen
        )
        self.story.say(worker_id, report)

    @property
    def devices(self):
        return {one.device: one for one in self.story.status().devices}


def loads(story, worker_id):
    orders = orders_to(story.hello(worker_id), worker_id)
    return [order.load.device for order in orders if isinstance(order, wire.LoadEngine)]


@pytest.mark.parametrize("wanted", ["xpu", "xpu:1", "mps"])
def test_engine_on_a_device_that_nobody_has_measured_starts_and_its_worker_gets_the_name(wanted):
    told = Told(wanted)
    assert loads(told.story, told.worker_id) == [wanted]
    assert set(told.devices) == {"cpu"}


def test_device_is_listed_with_what_its_worker_said_and_what_is_promised():
    told = Told()
    told.ready()
    arc = told.devices["xpu:0"]
    assert (arc.name, arc.total_bytes, arc.free_bytes) == ("Arc B580", 16 * GB, 10 * GB)
    assert arc.promised_bytes > WEIGHTS
    assert arc.available_bytes == 10 * GB + WEIGHTS - arc.promised_bytes


def test_device_is_still_known_after_the_next_measurement_of_the_host():
    told = Told()
    told.ready()
    before = told.devices["xpu:0"]
    told.story.tell(DiskSwept(free_bytes=1 << 40, devices=(CPU,)))
    assert told.devices["xpu:0"] == before


def test_auto_and_the_kind_may_choose_the_device_once_it_is_known():
    told = Told()
    told.story.engine(start=True, checkpoint="eight")
    auto = told.story.newcomers[-1]
    assert told.story.broker.world.workers[auto].reservation.device == "cpu"
    told.ready()
    for wanted in ("auto", "xpu"):
        told.story.engine(start=True, checkpoint="eight", device=wanted, name=wanted, keep_alive_s=0)
        last = told.story.newcomers[-1]
        assert loads(told.story, last) == ["xpu:0"]
        told.story.ask(client.StopEngine(engine_id=told.story.engine_of[last], now=True))
        told.story.exits(last, "exit code 0")


def test_further_workers_are_admitted_by_the_memory_that_is_left():
    told = Told()
    told.ready(free=GB, total=6 * GB)
    ask = client.CreateEngine(spec=told.story.engine_row(told.engine_id).spec)
    refused = told.story.refusal(ask)
    assert (refused.code, refused.shortage.device) == ("not_enough_memory", "xpu:0")


def test_memory_of_a_worker_that_has_gone_is_free_again():
    told = Told()
    told.ready()
    told.story.ask(client.StopEngine(engine_id=told.engine_id, now=True))
    told.story.exits(told.worker_id, "exit code 0")
    arc = told.devices["xpu:0"]
    assert (arc.promised_bytes, arc.available_bytes) == (0, 10 * GB + WEIGHTS)


def test_second_worker_counts_once_however_often_the_device_is_told():
    told = Told()
    told.ready()
    told.story.engine(start=True, checkpoint="eight", device="xpu")
    second = told.story.newcomers[-1]
    told.ready(free=5 * GB, worker_id=second)
    arc = told.devices["xpu:0"]
    assert arc.available_bytes == max(5 * GB + 2 * WEIGHTS - arc.promised_bytes, 0)


def test_measurement_of_the_host_is_believed_rather_than_a_worker():
    told = Told("cuda:0", device("cuda:0", 20 * GB, total=24 * GB))
    told.ready("cuda:0", free=GB, total=2 * GB)
    assert (told.devices["cuda:0"].total_bytes, told.devices["cuda:0"].name) == (24 * GB, "cuda:0")


@pytest.mark.parametrize(("name", "seen"), [("cpu", None), ("tpu:0", None), ("xpu:0", "xpu:1"), ("", None)])
def test_word_that_is_not_of_the_workers_own_gpu_is_passed_over(name, seen):
    told = Told()
    told.ready(name, total=99 * GB, seen_name=seen)
    assert set(told.devices) == {"cpu"}
    assert told.devices["cpu"].total_bytes == 64 * GB


def test_worker_of_another_host_says_nothing_of_this_one():
    story = Story(heavy("eight", 2 * WEIGHTS), limits=LIMITS, devices=(CPU,))
    engine_id = story.engine(checkpoint="eight", start=True, pool="lab")
    worker_id = story.member(story.token())
    seen = WorkerDevice(device="xpu:0", name="Arc", total_bytes=9, free_bytes=8)
    report = wire.EngineReady(engine_id=engine_id, device="xpu:0", memory_bytes=1, capacity=1, seen=seen)
    story.say(worker_id, report)
    assert [one.device for one in story.status().devices] == ["cpu"]
