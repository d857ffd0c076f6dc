"""What registration takes, the real engine loads and draws with; their tables are those of the modules."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_engine import Outcomes, load_order, order, spec

from bench.bell import Bell
from engine_worker.engine.diffusers_engine import build
from engine_worker.engine.loading.networks import build_empty
from engine_worker.formats.architecture import Architecture, ControlNetShape
from engine_worker.formats.checkpoint_layout import NetworkPlan
from engine_worker.formats.ldm_layout import single_file_layout
from engine_worker.formats.network_parameters import parameters_of
from engine_worker.formats.safetensors_header import DTYPE_BYTES
from engine_worker.formats.single_file import describe_file
from engine_worker.port import Completed
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable
from tests.unit.worker.model_files import (
    SMALL_SD,
    SMALL_SDXL,
    UNET,
    Shapes,
    controlnet_plan,
    small_architecture,
    stored_shapes,
    vae_plan,
)

pytestmark = pytest.mark.torch

EXAMPLES = 40 if settings.default is None or settings.default.max_examples <= 100 else 1_000
Tensors = dict[str, tuple[tuple[int, ...], str]]
"""Shapes and types by name."""
FLOATS = ["F16", "F32", "BF16", "F64", "F8_E4M3", "F8_E5M2"]
NAMES = [
    "logit_scale", "mystery.weight", f"{UNET}mystery.weight", f"{UNET}input_blocks.0.1.weight",
    f"{UNET}time_embedding.cond_proj.weight", f"{UNET}label_emb.0.0.weight", f"{UNET}middle_block.3.weight",
    "first_stage_model.decoder.extra", "cond_stage_model.transformer.text_model.extra", "v_pred", "ztsnr",
    "cond_stage_model.model.ln_final.weight", "first_stage_model.encoder.down.4.block.0.conv1.weight",
    f"{UNET}input_blocks.4.0.op.weight", "control_model.input_hint_block.0.weight", "emb_params",
]  # fmt: skip


def plans_of(architecture: Architecture) -> list[NetworkPlan]:
    return list(single_file_layout(architecture).networks)


@pytest.mark.parametrize("base", list(ModelBase))
@pytest.mark.parametrize("time_cond_width", [None, 256])
@pytest.mark.parametrize("resnets", [1, 2])
def test_the_tables_are_the_parameters_of_the_modules(
    base: ModelBase, time_cond_width: int | None, resnets: int
) -> None:
    found = small_architecture(base)
    unet = replace(found.unet, channels=(8, 16), time_cond_width=time_cond_width, resnets_per_level=resnets)
    half = replace(unet, time_cond_width=None)
    bare = replace(half, transformer_depths=(0, 0), middle_depth=0, cross_attention_width=0)
    controls = [
        controlnet_plan(base=base),
        controlnet_plan(base=base, shape=ControlNetShape(half, 3, (8, 16))),
        controlnet_plan(base=base, shape=ControlNetShape(bare, 3, (8, 8, 8, 8))),
    ]
    for plan in [*plans_of(replace(found, unet=unet)), *controls, vae_plan()]:
        module = {
            name.removeprefix("text_model."): tuple(held.shape)
            for name, held in build_empty(plan).named_parameters()
        }
        assert parameters_of(plan.network, plan.config) == module


def write(path: Path, tensors: Tensors) -> Path:
    """A checkpoint of zeros."""
    header, offset = {}, 0
    for name, (shape, dtype) in tensors.items():
        size = DTYPE_BYTES[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    return path


def is_taken(path: Path) -> bool:
    try:
        found = describe_file(path)
    except ModelUnreadable:
        return False
    memory = found.memory
    return found.model_type is ModelType.CHECKPOINT and memory is not None and not memory.lacks_vae


def draw(path: Path) -> None:
    """Start the real engine, and make an image."""
    outcomes = Outcomes()
    engine = build(outcomes.emit, Bell().ring)
    engine.load(load_order(path))
    engine.admit(order("job", spec(steps=1)))
    while engine.step():
        pass
    engine.close()
    ending = outcomes.ending("job")
    assert isinstance(ending, Completed), ending


def check(tensors: Tensors) -> bool:
    """Register; if that succeeds, draw."""
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "model.safetensors", tensors)
        if not is_taken(path):
            return False
        draw(path)
        return True


def as_tensors(shapes: Shapes, dtype: str = "F16") -> Tensors:
    return {name: (shape, dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("shapes", [SMALL_SD, SMALL_SDXL])
def test_a_good_checkpoint_is_taken_and_draws(shapes: Shapes) -> None:
    assert check(as_tensors(shapes))


@st.composite
def mutated(draw: st.DrawFn) -> Tensors:
    """A good header with one to three changes."""
    tensors = as_tensors(draw(st.sampled_from([SMALL_SD, SMALL_SDXL])), draw(st.sampled_from(FLOATS)))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(tensors)))
        shape, dtype = tensors[name]
        match draw(st.sampled_from(["drop", "rename", "reshape", "add", "retype"])):
            case "drop":
                del tensors[name]
            case "rename":
                other = draw(st.sampled_from([f"{name}.old", f"model_ema.{name}", *NAMES]))
                tensors[other] = tensors.pop(name)
            case "reshape":
                tensors[name] = (draw(shapes_near(shape)), dtype)
            case "add":
                tensors[draw(st.sampled_from(NAMES))] = (draw(shapes_near(shape)), dtype)
            case _:
                tensors[name] = (shape, draw(st.sampled_from(sorted(DTYPE_BYTES))))
    return tensors


def shapes_near(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    sides = st.sampled_from([1, 2, 4, 8, 9, 16])
    changed = [(*shape[:at], side, *shape[at + 1 :]) for at in range(len(shape)) for side in (1, 4, 9)]
    near = [shape, shape[::-1], (*shape, 1), shape[:-1], (), *changed]
    return st.sampled_from(near) | st.tuples(sides, sides)


@given(tensors=mutated())
@settings(max_examples=EXAMPLES)
def test_what_was_changed_is_refused_or_draws(tensors: Tensors) -> None:
    check(tensors)


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Consistent checkpoints of odd sizes."""
    base = draw(st.sampled_from(list(ModelBase)))
    sides = st.sampled_from([1, 3, 7, 16, 20, 32, 48, 72, 96, 130, 200])
    found = small_architecture(base, width=draw(st.integers(2, 20)) * 2)
    levels = draw(st.integers(1, 3))
    unet = replace(
        found.unet,
        in_channels=draw(st.sampled_from([4, 4, 9, 3])),
        channels=tuple(draw(sides) for _ in range(levels)),
        resnets_per_level=draw(st.integers(1, 2)),
        transformer_depths=tuple(draw(st.integers(0, 2)) for _ in range(levels)),
        middle_depth=draw(st.integers(0, 2)),
        uses_linear_projection=draw(st.booleans()),
        time_cond_width=draw(st.sampled_from([None, None, 1, 16, 256])),
    )
    texts = tuple(
        replace(one, layers=draw(st.integers(1, 2)), tokens=draw(st.sampled_from([77, 77, 60, 248])))
        for one in found.text_encoders
    )
    vae = replace(found.vae, channels=tuple(draw(sides) for _ in range(draw(st.sampled_from([4, 4, 3, 5])))))
    return replace(found, unet=unet, text_encoders=texts, vae=vae)


@given(architecture=architectures())
@settings(max_examples=EXAMPLES)
def test_a_checkpoint_of_any_size_is_refused_or_draws(architecture: Architecture) -> None:
    try:
        shapes = stored_shapes(plans_of(architecture))
    except ModelUnreadable:
        return
    check(as_tensors(shapes))
