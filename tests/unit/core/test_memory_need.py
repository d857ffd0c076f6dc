"""What an engine needs of a device, computed from the layout of its networks."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from kernel.core.memory_model.activations import unet_elements, vae_elements
from kernel.core.memory_model.memory_demand import demand_of, need_bytes, needs_of, weights_bytes
from kernel.protocol.enums import Compilation, EngineState, MemoryPlan, ModelPart, Variant
from kernel.protocol.ids import EngineId, ModelId
from kernel.protocol.model_refs import LoraUse
from kernel.protocol.rows import EngineRow
from tests.unit.core.memory_demands import GB, SD, SDXL, VAE
from tests.unit.core.samples import CHECKPOINT, checkpoint, heavy, spec


def test_the_full_sized_families_need_what_their_weights_and_one_picture_take():
    assert sum(weights_bytes(SD, "cuda").values()) == pytest.approx(2.13 * GB, rel=0.01)
    assert need_bytes(SD, "cuda", MemoryPlan.FAST, 1) == pytest.approx(4.0 * GB, rel=0.05)
    assert need_bytes(SDXL, "cuda", MemoryPlan.FAST, 1) == pytest.approx(11.9 * GB, rel=0.05)


def test_a_part_is_counted_in_the_precision_that_it_is_computed_in():
    half, single = weights_bytes(SD, "cuda"), weights_bytes(SD, "cpu")
    assert single[ModelPart.UNET] == 2 * half[ModelPart.UNET]
    on_cpu = weights_bytes(replace(SD, dtype=Variant.FP16), "cpu")
    assert on_cpu[ModelPart.UNET] == half[ModelPart.UNET]
    assert on_cpu[ModelPart.VAE] == single[ModelPart.VAE], "it overflows in float16"


@pytest.mark.parametrize("demand", [SD, SDXL])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_more_pictures_and_larger_ones_need_more(demand, kind):
    needs = needs_of(demand, kind, MemoryPlan.FAST)
    assert list(needs) == sorted(set(needs))
    larger = replace(demand, width_px=demand.width_px * 2)
    assert needs_of(larger, kind, MemoryPlan.FAST)[0] > needs[0]


def test_recorded_calls_keep_the_memory_of_one_on_a_gpu_and_nothing_on_a_cpu():
    recorded = replace(SDXL, compilation=Compilation.GRAPHS)
    pairs = zip(*(needs_of(one, "cuda", MemoryPlan.FAST) for one in (recorded, SDXL)), strict=True)
    more = [kept - freed for kept, freed in pairs]
    assert more[0] > 0
    assert more[7] == pytest.approx(8 * more[0], rel=0.05)
    assert needs_of(recorded, "cpu", MemoryPlan.FAST) == needs_of(SDXL, "cpu", MemoryPlan.FAST)


def test_as_many_pictures_are_reckoned_with_as_the_engine_steps_together():
    assert len(needs_of(SD, "cpu", MemoryPlan.FAST)) == 4
    assert len(needs_of(SD, "cuda", MemoryPlan.FAST)) == 8
    assert len(needs_of(replace(SD, max_batch=3), "cuda", MemoryPlan.FAST)) == 3
    assert len(needs_of(replace(SD, max_batch=10**9), "cuda", MemoryPlan.FAST)) == 64


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_decoding_in_tiles_is_the_more_frugal_plan_for_large_pictures(kind):
    fast, tiled = (need_bytes(SDXL, kind, plan, 1) for plan in (MemoryPlan.FAST, MemoryPlan.TILED))
    assert tiled < 0.92 * fast


def test_activations_grow_with_the_area_once_weights_no_longer_count():
    small, large = (unet_elements(SD.profile.unet, side, side, rows=2, tokens=77) for side in (64, 128))
    assert large / small == pytest.approx(4.0, rel=0.01)
    small, large = (vae_elements(VAE, side, side) for side in (64, 128))
    assert large / small == pytest.approx(4.0, rel=0.01)


def test_a_control_net_adds_its_residuals_to_every_call():
    layout = SD.profile.unet
    alone = unet_elements(layout, 64, 64, rows=2, tokens=77)
    controlled = unet_elements(layout, 64, 64, rows=2, tokens=77, control_nets=1)
    assert 1.05 < controlled / alone < 2.0


def test_odd_sizes_and_single_latents_have_a_need_like_all_others():
    for height, width in ((1, 1), (3, 5), (13, 1)):
        assert unet_elements(SD.profile.unet, height, width, rows=1, tokens=77) > 0
        assert vae_elements(VAE, height, width) > 0


def test_models_that_the_engine_holds_beside_its_checkpoint_count():
    models = {row.model_id: row for row in (checkpoint(), heavy("lora", GB), heavy("net", 2 * GB))}
    row = EngineRow(
        engine_id=EngineId("e"),
        name=None,
        spec=spec(loras=(LoraUse(model_id=ModelId("lora")),), control_models=(ModelId("net"),)),
        status=EngineState.CLOSED,
        created_at_ms=0,
    )
    demand = demand_of(row, models)
    assert demand.control_nets == 1
    assert sum(weights_bytes(demand, "cpu").values()) == 3 * GB


def test_a_model_that_an_earlier_version_inspected_weighs_what_its_parameters_weigh():
    old = changed(checkpoint(), parameters=1_000_000, memory_bytes=2_000_000)
    row = EngineRow(EngineId("e"), None, spec(), EngineState.CLOSED, 0)
    demand = demand_of(row, {CHECKPOINT: old})
    assert sum(weights_bytes(demand, "cpu").values()) == 4_000_000
