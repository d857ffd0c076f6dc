"""Preparing beside the steps: a slow detector holds up nobody but its own job, whatever becomes of that."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from threading import enumerate as threads
from typing import Final

import pytest
import torch
from loaded import load
from msgspec import structs
from PIL import Image
from small_engine import Outcomes, load_order, order, spec

from bench.bell import Bell, run_out, run_until
from bench.ours import Nets, make_alone
from bench.pictures import half_mask, photograph, png, random_control_net, random_lora
from bench.stock import Asked
from engine_worker.engine.diffusers_engine import build
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.postprocessing import DenoisedImage
from engine_worker.engine.pipeline.preprocessing import PendingJob, Preprocessor
from engine_worker.engine.pipeline.resources import EngineResources, bare_resources
from engine_worker.engine.prompts import parsed_prompts
from engine_worker.engine.prompts.encoded import Encode
from engine_worker.engine.prompts.plain import Plain
from engine_worker.engine.prompts.prompt_encoder import PromptEncoder
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.sampling.batch_scheduler import Admission
from engine_worker.port import Dropped, Failed, Inputs, Stepped
from kernel.protocol.enums import ControlType, InputKind, PromptTechnique, Stage
from kernel.protocol.ids import JobId, ModelId
from kernel.protocol.model_refs import Control, LoraUse
from kernel.protocol.specs import JobSpec

pytestmark = pytest.mark.torch

PATIENCE_S: Final = 60.0
SOON_S: Final = 0.05
NET: Final = ModelId("net")
POSE: Inputs = {InputKind.POSE: png(half_mask())}
REFERENCE: Inputs = {InputKind.REFERENCE: png(photograph())}
LANES: Final = ("parser", "reader", "detector")


class SlowDetector:
    """Draws nothing before its door is opened."""

    def __init__(self) -> None:
        self.begun = SimpleQueue[ControlType]()
        self.door = Event()
        self.error: Exception | None = None

    def detect(self, control_type: ControlType, picture: Image.Image) -> Image.Image:
        self.begun.put(control_type)
        assert self.door.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return picture


class Scene:
    """A studio with a slow detector."""

    def __init__(self, work: EngineResources) -> None:
        self.detector = SlowDetector()
        self.outcomes = Outcomes()
        self.latents: dict[str, torch.Tensor] = {}
        self.bell = Bell()
        self.work = replace(work, detect=self.detector.detect, prompt_encoder=PromptEncoder(work.parts))
        self.engine_core = EngineCore(self.work, self._keep, 4, self.outcomes.emit, self.bell.ring)

    def _keep(self, finished: DenoisedImage) -> None:
        self.latents[finished.job.order.job_id] = finished.latents

    def admit_slow(self, name: str = "slow") -> None:
        """Let a job in that waits for the detector."""
        self.engine_core.admit(order(name, slow()), POSE)

    def expect_detecting(self) -> None:
        self.detector.begun.get(timeout=PATIENCE_S)

    def steps_until_idle(self) -> None:
        while self.engine_core.step():
            pass


Threads = frozenset[Thread]


def lane_threads(others: Threads = frozenset()) -> Threads:
    return frozenset(thread for thread in threads() if thread.name in LANES) - others


@pytest.fixture
def others() -> Threads:
    """What tests of other studios have not ended."""
    return lane_threads()


def slow(seed: int = 1) -> JobSpec:
    use = Control(control_type=ControlType.OPENPOSE, control_model=NET)
    return spec(steps=2, seed=seed, controls=(use,))


@pytest.fixture(scope="module")
def work(checkpoints: Path) -> EngineResources:
    """One base is enough: it is not asked what the networks make of it."""
    parts = load(checkpoints / "sd.safetensors")
    return replace(bare_resources(parts), adapters=Nets(parts, {NET: random_control_net(parts, 1)}))


@pytest.fixture
def scene(work: EngineResources, others: Threads) -> Iterator[Scene]:
    """Its detector is let go in the end, and then no thread is left."""
    scene = Scene(work)
    yield scene
    scene.detector.door.set()
    scene.engine_core.close()
    assert not lane_threads(others)


def test_another_job_is_made_while_a_detector_is_at_work(scene: Scene) -> None:
    scene.admit_slow()
    scene.expect_detecting()
    scene.engine_core.admit(order("quick", spec(steps=3)))
    scene.steps_until_idle()
    assert scene.outcomes.names("quick") == ["Stepped"] * 3
    assert scene.outcomes.names("slow") == []
    scene.detector.door.set()
    run_out(scene.engine_core, scene.bell)
    assert scene.outcomes.names("slow") == ["Mapped", "Stepped", "Stepped"]


def test_a_job_with_a_picture_does_not_wait_for_a_detector_either(scene: Scene) -> None:
    scene.admit_slow()
    scene.expect_detecting()
    scene.engine_core.admit(order("pictured", spec(steps=2, strength=1.0)), REFERENCE)
    run_until(lambda: "pictured" in scene.latents, scene.engine_core.step, scene.bell)
    assert scene.outcomes.names("slow") == []


def test_preparing_is_told_with_the_steps_that_are_to_come(scene: Scene) -> None:
    scene.admit_slow()
    scene.expect_detecting()
    told = Stepped(JobId("slow"), step=0, steps=2, stage=Stage.PREPARING)
    assert scene.outcomes.of("slow") == [told, told]


def test_what_was_prepared_beside_the_steps_makes_the_picture_made_alone(scene: Scene) -> None:
    scene.admit_slow()
    scene.engine_core.admit(order("quick", spec(steps=4, seed=2)))
    scene.engine_core.step()
    scene.detector.door.set()
    run_out(scene.engine_core, scene.bell)
    alone = make_alone(scene.work, Asked(slow(), POSE))
    assert (scene.latents["slow"] - alone).abs().max().item() <= 1e-4


def test_a_job_that_is_cancelled_while_it_is_prepared_is_dropped_at_once_and_its_map_thrown_away(
    scene: Scene,
) -> None:
    scene.admit_slow()
    scene.expect_detecting()
    scene.engine_core.cancel(JobId("slow"))
    assert scene.outcomes.names("slow") == ["Dropped"]
    scene.admit_slow()
    scene.detector.door.set()
    run_out(scene.engine_core, scene.bell)
    assert scene.outcomes.names("slow") == ["Dropped", "Mapped", "Stepped", "Stepped"]


def test_a_job_that_waits_for_its_turn_and_is_cancelled_is_never_drawn(scene: Scene) -> None:
    scene.admit_slow()
    scene.expect_detecting()
    scene.admit_slow("next")
    scene.engine_core.cancel(JobId("next"))
    scene.detector.door.set()
    run_out(scene.engine_core, scene.bell)
    assert scene.outcomes.ending("next") == Dropped(JobId("next"))
    assert scene.detector.begun.empty()


def test_a_detector_that_breaks_fails_its_job_alone(scene: Scene) -> None:
    scene.detector.error = RuntimeError("it fell over")
    scene.admit_slow()
    scene.engine_core.admit(order("quick", spec(steps=1)))
    scene.detector.door.set()
    run_out(scene.engine_core, scene.bell)
    assert scene.outcomes.ending("slow") == Failed(
        JobId("slow"), "job_broke", "unexpected engine error (RuntimeError: it fell over); see the worker log"
    )
    assert "quick" in scene.latents


def test_a_device_that_breaks_while_a_job_is_prepared_ends_the_engine(scene: Scene) -> None:
    scene.detector.error = torch.AcceleratorError("device-side assert triggered")
    scene.admit_slow()
    scene.detector.door.set()
    with pytest.raises(torch.AcceleratorError):
        run_out(scene.engine_core, scene.bell)


def test_a_job_that_is_being_prepared_is_not_taken_twice(scene: Scene) -> None:
    for _ in range(2):
        scene.admit_slow()
    scene.detector.door.set()
    run_out(scene.engine_core, scene.bell)
    assert scene.outcomes.steps("slow") == [(1, 2), (2, 2)]


def test_a_detection_without_an_end_fails_its_job_with_the_reason(scene: Scene, others: Threads) -> None:
    preprocessor = Preprocessor(scene.work, scene.bell.ring, SOON_S)
    job = OpenJob(order("slow", slow()), steps=2, warnings=(), emit=scene.outcomes.emit)
    preprocessor.enter(PendingJob(Admission(0), job, POSE))
    scene.expect_detecting()
    scene.bell.wait()
    preprocessor.close()
    scene.detector.door.set()
    for thread in lane_threads(others):
        thread.join(PATIENCE_S)
    failed = scene.outcomes.ending("slow")
    assert isinstance(failed, Failed)
    assert (failed.code, "drawing control maps for it took longer" in failed.text) == ("job_broke", True)


def test_closing_waits_for_the_map_at_hand_and_makes_no_further_one(scene: Scene, others: Threads) -> None:
    scene.admit_slow()
    scene.expect_detecting()
    scene.admit_slow("next")
    scene.detector.door.set()
    scene.engine_core.close()
    assert not lane_threads(others)
    assert "Stepped" not in scene.outcomes.names("slow")


def test_a_job_whose_models_are_loaded_already_is_not_sent_to_wait(scene: Scene, tmp_path: Path) -> None:
    source = random_lora(scene.work.parts, tmp_path / "dots.safetensors", 1)
    of = structs.replace(spec(steps=1), loras=(LoraUse(model_id=source.model_id, weight=0.5),))
    for name in ("first", "second"):
        scene.engine_core.admit(structs.replace(order(name, of), models=(source,)))
        run_out(scene.engine_core, scene.bell)
    assert scene.outcomes.stages("first") == [Stage.PREPARING]
    assert scene.outcomes.stages("second") == []
    assert torch.equal(scene.latents["first"], scene.latents["second"])


class SlowTechnique(Plain):
    """Reads nothing before its door is opened."""

    def __init__(self) -> None:
        self.begun = SimpleQueue[str]()
        self.door = Event()

    def read(self, text: str) -> Encode:
        self.begun.put(text)
        assert self.door.wait(PATIENCE_S)
        return super().read(text)


@pytest.fixture
def technique(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowTechnique]:
    """What compel prompts are read with."""
    technique = SlowTechnique()
    monkeypatch.setattr(parsed_prompts, "_make_technique", lambda name: technique)
    yield technique
    technique.door.set()


def worded(prompt: str) -> JobSpec:
    return spec(prompt=prompt, steps=1, guidance_scale=1.0, technique=PromptTechnique.COMPEL)


def test_a_prompt_that_takes_long_to_read_holds_up_nobody_but_its_own_job(
    scene: Scene, technique: SlowTechnique
) -> None:
    scene.engine_core.admit(order("wordy", worded("a ball")))
    assert technique.begun.get(timeout=PATIENCE_S) == "a ball"
    scene.engine_core.admit(order("quick", spec(steps=1)))
    scene.engine_core.admit(order("pictured", spec(steps=1, strength=1.0)), REFERENCE)
    run_until(lambda: {"quick", "pictured"} <= scene.latents.keys(), scene.engine_core.step, scene.bell)
    assert scene.outcomes.steps("wordy") == []
    technique.door.set()
    run_out(scene.engine_core, scene.bell)
    assert scene.outcomes.stages("wordy") == [Stage.PREPARING]
    assert "wordy" in scene.latents


def test_a_prompt_that_was_read_before_is_not_sent_to_wait(scene: Scene, technique: SlowTechnique) -> None:
    technique.door.set()
    for name in ("first", "second"):
        scene.engine_core.admit(order(name, worded("a table")))
        run_out(scene.engine_core, scene.bell)
    assert scene.outcomes.stages("first") == [Stage.PREPARING]
    assert scene.outcomes.stages("second") == []


def test_a_prompt_that_cannot_be_read_fails_its_job_alone(scene: Scene) -> None:
    scene.engine_core.admit(order("wordy", worded("(a (b (c")))
    scene.engine_core.admit(order("quick", spec(steps=1)))
    run_out(scene.engine_core, scene.bell)
    failed = scene.outcomes.ending("wordy")
    assert failed == Failed(JobId("wordy"), "job_rejected", "prompt: 3 brackets are never closed")
    assert "quick" in scene.latents


def test_an_engine_that_is_closed_while_it_prepares_ends_all_its_threads(
    checkpoints: Path, others: Threads
) -> None:
    outcomes = Outcomes()
    engine = build(outcomes.emit, Bell().ring)
    engine.load(load_order(checkpoints / "sd.safetensors"))
    engine.admit(order("job", spec()), REFERENCE)
    engine.close()
    assert outcomes.names("job") == []
    assert not lane_threads(others)
