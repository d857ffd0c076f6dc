"""Calls of the UNet that were prepared beforehand: the same pictures, and everything else as it comes.

CUDA graphs need a GPU (tests/gpu/test_graphs.py); here calls are recorded by a fake, and blocks compiled by a
compiler that leaves them as they are.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from loaded import load
from msgspec.structs import replace as changed
from PIL import Image
from small_engine import load_order, spec
from torch import Tensor

from bench.ours import make_together, order_of, resources
from bench.pictures import half_mask, png, random_control_net, random_lora
from bench.stock import Asked
from engine_worker.engine.gpu.call_shape import CallShape, shapes_to_compile
from engine_worker.engine.gpu.compile_unet import compile_unet, compiled, recorded
from engine_worker.engine.gpu.recorded_calls import Replay
from engine_worker.engine.networks.components import Components, ControlNet
from kernel.protocol.enums import Compilation, ControlType, InputKind
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Control, LoraUse
from kernel.protocol.specs import EngineLoad

pytestmark = pytest.mark.torch

NET = ModelId("net")
NO_NETS: Mapping[ModelId, ControlNet] = {}
PAIR = [Asked(spec(seed=seed)) for seed in (1, 2)]


@dataclass
class FakeRecorder:
    """Makes a recorded call again by making it again; above so many rows there is no memory."""

    most_rows: int = 99
    played: list[int] = field(default_factory=list)

    def record(self, call: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        result = call()
        if len(result) > self.most_rows:
            raise torch.OutOfMemoryError

        def replay() -> None:
            self.played.append(len(result))
            result.copy_(call())

        return replay, result


def asked_for(slots: int = 2, guidance_scale: float = 5.0) -> EngineLoad:
    order = load_order(Path("/nowhere.safetensors"), max_batch=slots)
    return changed(
        order, compilation=Compilation.GRAPHS, width_px=64, height_px=64, guidance_scale=guidance_scale
    )


def prepared(parts: Components, recorder: FakeRecorder, slots: int = 2) -> Components:
    with torch.inference_mode():
        return recorded(parts, shapes_to_compile(parts, asked_for(slots), slots), recorder)


def made(
    parts: Components,
    jobs: list[Asked],
    quick: Components | None = None,
    nets: Mapping[ModelId, ControlNet] = NO_NETS,
) -> list[Tensor]:
    """The latents of the jobs, made with the parts or, on the same networks, with their quick variant."""
    work = resources(parts, nets)
    for number, asked in enumerate(jobs):  # so that none begins before the others are let in
        work.prompt_encoder.read(order_of(f"job-{number}", asked))
    latents = make_together(work if quick is None else replace(work, parts=quick), jobs, slots=2)
    work.adapters.lora_manager.clear()
    return latents


def are_equal(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def test_recorded_calls_make_the_same_pictures(parts: Components) -> None:
    recorder = FakeRecorder()
    quick = made(parts, PAIR, prepared(parts, recorder))
    assert recorder.played == [4, 4, 4]
    assert are_equal(quick, made(parts, PAIR))


def test_a_call_of_another_shape_is_made_as_it_comes(parts: Components) -> None:
    recorder = FakeRecorder()
    others = [Asked(spec(width_px=72)), Asked(spec(guidance_scale=1.0))]
    quick = made(parts, others, prepared(parts, recorder))
    assert recorder.played == []
    assert are_equal(quick, made(parts, others))


def test_prompts_of_different_length_are_not_recorded(parts: Components) -> None:
    recorder = FakeRecorder()
    weighted = replace(PAIR[0], spec=changed(PAIR[0].spec, prompt="a red ball " * 40))
    long = replace(weighted, spec=changed(weighted.spec, long_prompt_technique="sd_embed"))
    quick = made(parts, [long, PAIR[1]], prepared(parts, recorder))
    assert recorder.played == []
    assert are_equal(quick, made(parts, [long, PAIR[1]]))


def test_with_a_lora_nothing_recorded_is_played(parts: Components, tmp_path: Path) -> None:
    recorder = FakeRecorder()
    lora = random_lora(parts, tmp_path / "lora.safetensors", seed=2)
    job = Asked(spec(), models=(lora,))
    job = replace(job, spec=changed(job.spec, loras=(LoraUse(model_id=lora.model_id, weight=1.0),)))
    quick = made(parts, [job], prepared(parts, recorder))
    assert recorder.played == []
    assert are_equal(quick, made(parts, [job]))
    assert not are_equal(quick, made(parts, [Asked(spec())]))


def test_with_a_control_net_only_the_calls_in_which_it_rests_are_played(parts: Components) -> None:
    recorder = FakeRecorder()
    control = Control(
        control_type=ControlType.CANNY, control_model=NET, start=0.0, end=0.4, is_preprocessed=True
    )
    wanted = spec(steps=3, controls=(control,))
    pose = png(half_mask().transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    job = Asked(wanted, {InputKind.POSE: pose})
    nets = {NET: random_control_net(parts, seed=1)}
    quick = made(parts, [job], prepared(parts, recorder), nets)
    assert recorder.played == [2, 2]
    assert are_equal(quick, made(parts, [job], nets=nets))


def test_what_there_is_no_memory_for_stays_unrecorded_and_the_rest_is_recorded(parts: Components) -> None:
    recorder = FakeRecorder(most_rows=2)
    quick = prepared(parts, recorder)
    made(parts, PAIR, quick)
    made(parts, PAIR[:1], quick)
    assert recorder.played == [2, 2, 2]


def test_the_largest_calls_come_first_with_two_rows_for_guidance(parts: Components) -> None:
    assert [one.rows for one in shapes_to_compile(parts, asked_for(3), 3)] == [6, 4, 2]
    assert [one.rows for one in shapes_to_compile(parts, asked_for(3, 1.0), 3)] == [3, 2, 1]
    assert shapes_to_compile(parts, asked_for(1), 1) == (CallShape(2, 4, 8, 8, 77),)


def test_nothing_is_prepared_for_pictures_of_an_unknown_size_nor_on_a_cpu(parts: Components) -> None:
    assert shapes_to_compile(parts, changed(asked_for(), width_px=None), 2) == ()
    assert compile_unet(parts, asked_for(), 2) is parts


@pytest.fixture
def fresh(checkpoints: Path) -> Iterator[Components]:
    """Parts of its own: compiling leaves its mark on a network."""
    yield load(checkpoints / "sd.safetensors")
    torch.compiler.reset()


@dataclass
class CountingCompiler:
    """Leaves code as it is, and counts what it is given and how often that is run."""

    compiled: int = 0
    run: int = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: object) -> Callable[..., object]:
        self.compiled += 1

        def run(*args: object) -> object:
            self.run += 1
            return graph.forward(*args)

        return run


@pytest.mark.exhaustive
def test_compiled_blocks_make_the_same_pictures_and_loras_go_around_them(
    fresh: Components, tmp_path: Path
) -> None:
    lora = random_lora(fresh, tmp_path / "lora.safetensors", seed=2)
    adorned = Asked(
        changed(spec(seed=3), loras=(LoraUse(model_id=lora.model_id, weight=1.0),)), models=(lora,)
    )
    jobs = [PAIR[0], Asked(spec(width_px=72, steps=1)), adorned]
    expected = made(fresh, jobs)
    compiler = CountingCompiler()
    with torch.inference_mode():
        quick = compiled(fresh, shapes_to_compile(fresh, asked_for(), 2), compiler)
    before = replace(compiler)
    found = made(fresh, jobs, quick)
    assert 0 < before.compiled == compiler.compiled
    assert before.run < compiler.run
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(found, expected, strict=True))


def test_without_a_compiler_the_engine_works_as_written(fresh: Components) -> None:
    expected = made(fresh, PAIR[:1])
    with torch.inference_mode():
        quick = compiled(fresh, shapes_to_compile(fresh, asked_for(), 2), "there is no such compiler")
    assert quick.quick_denoiser is None
    assert are_equal(made(fresh, PAIR[:1], quick), expected)
