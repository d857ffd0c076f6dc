"""What registration takes, the real engine loads and draws with; their tables are those of the modules."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import EXAMPLES, FLOATS, Tensors, as_tensors, draw, mutated, write

from engine_worker.engine.loading.networks import build_empty
from engine_worker.formats.architecture import Architecture, ControlNetShape
from engine_worker.formats.checkpoint_layout import NetworkPlan
from engine_worker.formats.ldm_layout import single_file_layout
from engine_worker.formats.network_parameters import parameters_of
from engine_worker.formats.single_file import describe_file
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import ModelUnreadable
from tests.unit.worker.model_files import (
    SMALL_SD,
    SMALL_SDXL,
    Shapes,
    controlnet_plan,
    small_architecture,
    stored_shapes,
    vae_plan,
)

pytestmark = pytest.mark.torch


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


def is_taken(path: Path) -> bool:
    try:
        found = describe_file(path)
    except ModelUnreadable:
        return False
    memory = found.memory
    return found.model_type is ModelType.CHECKPOINT and memory is not None and not memory.lacks_vae


def check(tensors: Tensors) -> bool:
    """Register; if that succeeds, draw."""
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "model.safetensors", tensors)
        if not is_taken(path):
            return False
        draw(path)
        return True


@pytest.mark.parametrize("shapes", [SMALL_SD, SMALL_SDXL])
def test_a_good_checkpoint_is_taken_and_draws(shapes: Shapes) -> None:
    assert check(as_tensors(shapes))


@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_what_was_changed_is_refused_or_draws(data: st.DataObject) -> None:
    good = as_tensors(data.draw(st.sampled_from([SMALL_SD, SMALL_SDXL])), data.draw(st.sampled_from(FLOATS)))
    check(data.draw(mutated(good)))


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
