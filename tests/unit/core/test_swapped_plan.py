"""The most frugal plan: what its engines need, and when it is chosen."""

from dataclasses import replace
from math import ceil

import pytest
from msgspec.structs import replace as changed

from kernel.core.actions import CompareMemory
from kernel.core.memory_model.activations import text_elements
from kernel.core.memory_model.memory_demand import (
    MARGIN,
    PROCESS_BYTES,
    need_bytes,
    plans_for,
    resident_bytes,
    weights_bytes,
)
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.enums import EngineState, MemoryPlan, ModelPart
from kernel.protocol.memory import MemoryProfile
from tests.unit.core.memory_demands import CLIP_G, CLIP_L, GB, SD, SDXL, part
from tests.unit.core.samples import checkpoint, device, spec
from tests.unit.core.story import Story, only, orders_to

HALF_BYTES = 2
FAST, TILED, SWAPPED = MemoryPlan
LIMITS = Limits(max_running=9, keep_alive_s=1000.0, turn_s=60.0)
STARVED = replace(SDXL, profile=MemoryProfile(parts=SDXL.profile.parts, text_encoders=(CLIP_L, CLIP_G)))
"""Nothing is known of its UNet and VAE but their weights."""


def need(demand, plan=SWAPPED, batch_size=1):
    return need_bytes(demand, "cuda", plan, batch_size)


def with_margin(size_bytes):
    return ceil(MARGIN["cuda"] * size_bytes)


def with_part(demand, kind, parameters):
    """The appetite with more weights of a kind in its checkpoint."""
    parts = (
        changed(one, parameters=one.parameters + parameters) if one.part is kind else one
        for one in demand.profile.parts
    )
    return replace(demand, profile=changed(demand.profile, parts=tuple(parts)))


def test_between_uses_an_engine_holds_its_unet_and_what_is_laid_over_it():
    extras = tuple(part(kind, 10**7) for kind in (ModelPart.ADAPTER, ModelPart.CONTROLNET, ModelPart.VAE))
    weights = weights_bytes(SDXL, "cuda")
    assert resident_bytes(SDXL, "cuda", SWAPPED) == weights[ModelPart.UNET]
    held = resident_bytes(replace(SDXL, extras=extras), "cuda", SWAPPED)
    assert held == weights[ModelPart.UNET] + 2 * HALF_BYTES * 10**7
    assert resident_bytes(SDXL, "cuda", TILED) == sum(weights.values())


def test_the_need_is_the_unet_and_beside_it_a_prompt_with_its_encoders_and_a_picture_with_its_vae():
    weights = weights_bytes(STARVED, "cuda")
    reading = sum(text_elements(layout, 2) for layout in (CLIP_L, CLIP_G)) * HALF_BYTES
    least = sum(weights.values()) + reading
    assert need(STARVED) == pytest.approx(PROCESS_BYTES["cuda"] + MARGIN["cuda"] * least, rel=0.01)
    assert need(STARVED) == need(STARVED, TILED), "without activations nothing can take turns"


def test_text_encoders_cost_nothing_where_a_step_takes_more_than_they_do():
    wider = with_part(SDXL, ModelPart.TEXT_ENCODER, 10**8)
    more = with_margin(10**8 * HALF_BYTES)
    assert need(wider, batch_size=8) == need(SDXL, batch_size=8)
    assert need(wider, TILED, batch_size=8) - need(SDXL, TILED, batch_size=8) == pytest.approx(more, abs=1)
    assert need(wider) - need(SDXL) == pytest.approx(more, abs=1), "a step of one picture takes less"


@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_vaes_weights_count_as_pictures_are_decoded_beside_steps_and_prompts(batch_size):
    wider = with_part(SDXL, ModelPart.VAE, 10**8)
    more = with_margin(10**8 * HALF_BYTES)
    assert need(wider, batch_size=batch_size) - need(SDXL, batch_size=batch_size) == pytest.approx(
        more, abs=1
    )


def test_another_vae_counts_with_a_picture_that_is_encoded_while_one_is_decoded():
    weights = weights_bytes(SD, "cuda")
    smaller = replace(SD, extras=(part(ModelPart.VAE, 10**7),))
    more = need(smaller) - need(SD)
    assert more == pytest.approx(with_margin(10**7 * HALF_BYTES), abs=1), "encoding takes the most"
    assert need(smaller, batch_size=8) == need(SD, batch_size=8), "a step of eight does, and they take turns"
    larger = replace(SD, extras=(part(ModelPart.VAE, 10**8),))
    beyond = 10**8 * HALF_BYTES - weights[ModelPart.VAE]
    assert need(larger, batch_size=8) - need(SD, batch_size=8) == pytest.approx(with_margin(beyond), abs=1)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("side_px", [64, 512, 1024, 2048])
@pytest.mark.parametrize("demand", [SD, SDXL])
def test_no_plan_is_more_frugal(demand, side_px, batch_size):
    sized = replace(demand, width_px=side_px, height_px=side_px)
    assert need(sized, batch_size=batch_size) < need(sized, TILED, batch_size)


def test_it_saves_a_sixth_of_sdxl_and_a_little_of_sd():
    assert need(SDXL, TILED) - need(SDXL) == pytest.approx(1.5 * GB, rel=0.05)
    assert need(SD, TILED) - need(SD) == pytest.approx(0.28 * GB, rel=0.05)


def test_on_a_cpu_it_is_not_offered_and_saves_nothing():
    assert plans_for("cpu") == (FAST, TILED)
    assert plans_for("cuda") == (FAST, TILED, SWAPPED), "the quickest first"
    assert need_bytes(SDXL, "cpu", SWAPPED, 1) == need_bytes(SDXL, "cpu", TILED, 1)


DRAWING = changed(checkpoint("drawing"), memory=SDXL.profile, native_size_px=1024)


def started(*devices):
    story = Story(DRAWING, limits=LIMITS, devices=devices)
    story.engine(start=True, checkpoint="drawing")
    (worker_id,) = story.newcomers
    (order,) = [o for o in orders_to(story.hello(worker_id), worker_id) if isinstance(o, wire.LoadEngine)]
    return story, order.load


@pytest.mark.parametrize("plan", list(MemoryPlan))
def test_an_engine_gets_the_quickest_plan_that_fits_its_gpu(plan):
    _, load = started(device("cuda:0", need(SDXL, plan)))
    assert load.plan is plan


def test_what_it_is_predicted_to_hold_once_loaded_is_what_does_not_rest():
    story, _ = started(device("cuda:0", need(SDXL)))
    (compared,) = only(story.ready("w1-1"), CompareMemory)
    assert compared.reservation.weights_bytes == weights_bytes(SDXL, "cuda")[ModelPart.UNET]


def test_a_refusal_names_what_the_most_frugal_plan_needs():
    story = Story(DRAWING, limits=LIMITS, devices=(device("cuda:0", need(SDXL) - 1),))
    refused = story.refusal(client.CreateEngine(spec=spec(checkpoint="drawing")))
    assert refused.shortage.needed_bytes == need(SDXL)
    assert "needs 9.1 GB on cuda:0" in refused.detail


def test_a_cpu_refuses_what_only_swapping_would_make_fit():
    least = need_bytes(SDXL, "cpu", TILED, 1)
    story = Story(DRAWING, limits=LIMITS, devices=(device("cpu", least - 1),))
    assert story.refusal(client.CreateEngine(spec=spec(checkpoint="drawing"))).shortage.needed_bytes == least
    roomy, load = started(device("cpu", least))
    assert load.plan is TILED
    assert roomy.engine_state(load.engine_id) is EngineState.STARTING
