"""The fake engine: the same bytes for the same order, and every misbehaviour that it can be told."""

import hashlib
import struct
import zlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine_worker.engine.fake.engine import CRASH_STATUS, FakeEngine
from engine_worker.port import (
    NO_INPUTS,
    Completed,
    Dropped,
    Failed,
    ImageEncoded,
    Inputs,
    Mapped,
    Outcome,
    Previewed,
    Stepped,
)
from kernel.protocol.enums import ControlType, InputKind, ModelType, Stage
from kernel.protocol.errors import EngineFailed, OutOfMemory
from kernel.protocol.ids import JobId, ModelId
from kernel.protocol.model_refs import Control
from kernel.protocol.specs import JobOrder
from tests.unit.worker.orders import job, load, source

JOB = JobId("job-1")


class ProcessEnded(Exception):
    """Where the process would have ended."""


class SleptForever(Exception):
    """Where the engine would have hung."""


class World:
    """A fake engine whose time and whose end are only noted."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.slept_s: list[float] = []
        self.engine = FakeEngine(self.outcomes.append, self._sleep, self._end)

    def run(self, *orders: JobOrder, at_most: int = 1000) -> list[Outcome]:
        """Admit these and step until nothing is left."""
        for order in orders:
            self.engine.admit(order)
        for _ in range(at_most):
            if not self.engine.step():
                break
        return self.outcomes

    def _sleep(self, seconds: float) -> None:
        if seconds >= 3600:
            raise SleptForever
        self.slept_s.append(seconds)

    def _end(self, status: int) -> None:
        raise ProcessEnded(status)


def pictures(outcomes: list[Outcome]) -> list[ImageEncoded]:
    return [outcome for outcome in outcomes if isinstance(outcome, ImageEncoded)]


def test_a_job_is_stepped_drawn_and_completed() -> None:
    outcomes = World().run(job(steps=2))
    assert [type(outcome) for outcome in outcomes] == [Stepped, Stepped, ImageEncoded, Completed]
    assert outcomes[1] == Stepped(JOB, 2, 2)


def test_several_pictures_are_made_one_after_the_other() -> None:
    outcomes = World().run(job(steps=2, pictures=2))
    assert [type(outcome) for outcome in outcomes] == [Stepped, Stepped, ImageEncoded] * 2 + [Completed]
    assert [(picture.index, picture.seed) for picture in pictures(outcomes)] == [(0, 5), (1, 6)]
    assert outcomes[-3] == Stepped(JOB, 4, 4)


def test_a_job_of_no_steps_is_drawn_all_the_same() -> None:
    outcomes = World().run(job(steps=0, pictures=2))
    assert [type(outcome) for outcome in outcomes] == [ImageEncoded, ImageEncoded, Completed]


def test_the_same_order_gives_the_same_bytes_and_another_seed_gives_others() -> None:
    [first], [again], [other] = (pictures(World().run(job(seed=seed))) for seed in (5, 5, 6))
    assert first.data == again.data
    assert first.data != other.data


def test_a_picture_is_a_valid_png_of_the_size_asked_for() -> None:
    [picture] = pictures(World().run(job()))
    data = picture.data
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack("!II", data[16:24]) == (picture.width_px, picture.height_px) == (64, 72)
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start])
    assert len(zlib.decompress(data[start + 4 : start + 4 + length])) == 72 * (1 + 64 // 8)


def test_jobs_are_stepped_together_up_to_the_capacity() -> None:
    world = World()
    assert world.engine.load(load(max_batch=2).load).capacity == 2
    for name in ("a", "b", "c"):
        world.engine.admit(job(name, steps=1))
    assert world.engine.step()
    assert {outcome.job_id for outcome in world.outcomes} == {"a", "b"}
    assert not world.engine.step()
    assert world.outcomes[-1] == Completed(JobId("c"))


def test_as_many_jobs_as_it_was_adjusted_to_are_stepped_together() -> None:
    world = World()
    world.engine.load(load(max_batch=2).load)
    for name in ("a", "b"):
        world.engine.admit(job(name, steps=1))
    world.engine.adjust(1)
    assert world.engine.step()
    assert {outcome.job_id for outcome in world.outcomes} == {"a"}


def test_without_a_limit_the_capacity_is_four() -> None:
    assert World().engine.load(load().load).capacity == 4


def test_a_cancelled_job_is_dropped_and_one_that_is_not_here_is_not_mentioned() -> None:
    world = World()
    world.engine.admit(job())
    world.engine.cancel(JOB)
    world.engine.cancel(JOB)
    assert world.outcomes == [Dropped(JOB)]
    assert not world.engine.step()


def test_a_deaf_job_goes_on_after_a_cancel() -> None:
    world = World()
    world.engine.admit(job(prompt="[ignore cancel]"))
    world.engine.cancel(JOB)
    assert world.run()[-1] == Completed(JOB)


def test_a_slow_job_makes_each_step_slow() -> None:
    world = World()
    world.run(job("a", "[slow 50ms]", steps=2), job("b", "[slow 2s] a cat", steps=1))
    assert world.slept_s == [2.0, 0.05]


def test_a_crash_ends_the_process_in_the_second_step() -> None:
    world = World()
    world.engine.admit(job(prompt="[crash]"))
    assert world.engine.step()
    with pytest.raises(ProcessEnded, match=str(CRASH_STATUS)):
        world.engine.step()
    assert world.outcomes == [Stepped(JOB, 1, 3)]


@pytest.mark.parametrize("steps", [0, 1])
def test_a_crash_comes_even_in_the_shortest_job(steps: int) -> None:
    with pytest.raises(ProcessEnded):
        World().run(job(prompt="[crash]", steps=steps))


def test_a_hang_never_returns_from_the_step() -> None:
    with pytest.raises(SleptForever):
        World().run(job(prompt="[hang]"))


def test_a_defect_is_raised_from_the_step() -> None:
    with pytest.raises(RuntimeError):
        World().run(job(prompt="[bug]"))


def test_a_job_that_runs_out_of_memory_fails_alone() -> None:
    outcomes = World().run(job("a", "[oom]"), job("b"))
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert [(outcome.job_id, outcome.code) for outcome in failed] == [("a", "out_of_memory")]
    assert Completed(JobId("b")) in outcomes


def test_a_job_that_fails_is_refused_when_it_is_admitted() -> None:
    world = World()
    world.engine.admit(job(prompt="[fail]"))
    [failed] = world.outcomes
    assert isinstance(failed, Failed)
    assert failed.code == "job_rejected"


def test_a_warning_comes_with_the_end() -> None:
    end = World().run(job(prompt="[warn]"))[-1]
    assert isinstance(end, Completed)
    assert end.warnings


def test_a_crash_once_happens_once_over_all_processes(tmp_path: Path) -> None:
    prompt = f"[crash-once {tmp_path / 'crashed'}]"
    with pytest.raises(ProcessEnded):
        World().run(job(prompt=prompt))
    assert World().run(job(prompt=prompt))[-1] == Completed(JOB)


def test_a_hang_once_happens_once_over_all_processes(tmp_path: Path) -> None:
    prompt = f"[hang-once {tmp_path / 'hung'}]"
    with pytest.raises(SleptForever):
        World().run(job(prompt=prompt))
    assert World().run(job(prompt=prompt))[-1] == Completed(JOB)


def test_a_job_waits_until_its_file_exists_and_holds_nobody_up(tmp_path: Path) -> None:
    world = World()
    gate = tmp_path / "gate"
    assert Completed(JobId("b")) in world.run(job("a", f"[until {gate}]"), job("b"), at_most=5)
    assert not [outcome for outcome in world.outcomes if outcome.job_id == "a"]
    gate.touch()
    assert world.run()[-1] == Completed(JobId("a"))


def test_a_checkpoint_can_be_slow_to_load() -> None:
    world = World()
    world.engine.load(load("slow-load-3s").load)
    assert sum(world.slept_s) == 3.0


def test_a_checkpoint_may_be_cured_of_its_bad_words(tmp_path: Path) -> None:
    order = load(f"oom-load [unless {tmp_path}/cured]").load
    with pytest.raises(OutOfMemory):
        World().engine.load(order)
    (tmp_path / "cured").touch()
    assert World().engine.load(order).capacity == 4


def test_a_checkpoint_can_fail_to_load() -> None:
    with pytest.raises(EngineFailed):
        World().engine.load(load("fail-load").load)
    with pytest.raises(OutOfMemory):
        World().engine.load(load("oom-load").load)
    with pytest.raises(ProcessEnded):
        World().engine.load(load("crash-load").load)
    with pytest.raises(SleptForever):
        World().engine.load(load("hang-load").load)


# All else that a job can ask for.

POSE: Inputs = {InputKind.POSE: b"a pose"}


def run_with(inputs: Inputs, **fields: object) -> list[Outcome]:
    """The outcomes of a job with some fields of its own, and the pictures that come with it."""
    order = job(steps=2)
    world = World()
    world.engine.admit(replace(order, spec=replace(order.spec, **fields)), inputs)
    return world.run()


def test_a_map_is_drawn_for_each_control_that_brings_none() -> None:
    controls = (
        Control(control_type=ControlType.CANNY, control_model=ModelId("net")),
        Control(control_type=ControlType.DEPTH, control_model=ModelId("net"), is_preprocessed=True),
    )
    outcomes = run_with(POSE, controls=controls)
    [mapped] = [outcome for outcome in outcomes if isinstance(outcome, Mapped)]
    assert outcomes.index(mapped) == 0
    assert mapped.control_type is ControlType.CANNY
    assert mapped.data.startswith(b"\x89PNG")
    [other] = [o for o in run_with({InputKind.POSE: b"b"}, controls=controls) if isinstance(o, Mapped)]
    assert other.data != mapped.data


def test_previews_are_shown_after_each_step_if_the_job_wants_them() -> None:
    outcomes = run_with(NO_INPUTS, previews=True)
    previews = [outcome for outcome in outcomes if isinstance(outcome, Previewed)]
    assert [(preview.index, preview.step) for preview in previews] == [(0, 1), (0, 2)]
    assert len({preview.data for preview in previews}) == 2
    assert all(preview.data[:2] + preview.data[-2:] == b"\xff\xd8\xff\xd9" for preview in previews)
    assert not [outcome for outcome in run_with(NO_INPUTS) if isinstance(outcome, Previewed)]


def test_the_removal_of_a_background_is_a_stage() -> None:
    outcomes = run_with(NO_INPUTS, remove_background=("remover",))
    assert Stepped(JOB, 2, 2, Stage.REMOVING_BACKGROUND) in outcomes


def test_what_came_with_a_job_is_told_if_it_asks() -> None:
    order = replace(job(prompt="[echo]"), models=(source(model_type=ModelType.LORA),))
    world = World()
    world.engine.admit(order, POSE)
    completed = world.run()[-1]
    assert isinstance(completed, Completed)
    assert completed.warnings == (f"pose {hashlib.sha256(b'a pose').hexdigest()}", "lora a model")


def test_the_picture_of_another_picture_is_another() -> None:
    [first], [other] = (pictures(run_with({InputKind.REFERENCE: data})) for data in (b"a", b"b"))
    assert first.data != other.data
