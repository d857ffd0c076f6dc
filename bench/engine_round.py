"""One round of `bench.engine`, in a process of its own: `python -m bench.engine_round FOLDER`.

Prints one line of JSON: the figures of this round. What is compared runs in turns, A B B A, in this process.
"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import diffusers
import torch
from msgspec import structs
from torch import Tensor, nn

from bench.bell import Bell
from bench.ours import Gathered, make_alone, make_together, order_of
from bench.pictures import random_lora
from bench.stock import CLASSES, Asked
from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.loading.networks import fill
from engine_worker.engine.networks.components import Components
from engine_worker.engine.pipeline.engine_core import EngineCore
from engine_worker.engine.pipeline.resources import EngineResources, bare_resources
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.port import Stepped
from kernel.protocol.enums import ModelType, Scheduler
from kernel.protocol.ids import JobId, ModelId
from kernel.protocol.model_refs import LoraUse, ModelSource
from kernel.protocol.specs import JobSpec

CROWDS: Final = (1, 2, 4, 8, 16)
SIZES_PX: Final = (64, 128)
STEPS: Final = 8
BARE_CALLS: Final = 12
BOUND: Final = 1e-4
MIXED: Final = (Scheduler.EULER, Scheduler.DPMPP_2M_KARRAS, Scheduler.DDIM, Scheduler.EULER_A)


def main() -> None:
    """Measure all figures once."""
    folder, is_brief = Path(sys.argv[1]), "--brief" in sys.argv[2:]
    sizes_px, crowds = (SIZES_PX[:1], CROWDS[1:3]) if is_brief else (SIZES_PX, CROWDS[1:])
    # Two threads beside a busy neighbour take several times as long as one.
    torch.set_num_threads(1)
    begin_s = perf_counter()
    work = bare_resources(load(folder / "sd.safetensors"))
    figures = {"load_s": perf_counter() - begin_s}
    tell("gate: made in company is made alone", begin_s)
    check(work)
    for size_px in sizes_px:
        for count in crowds:
            tell(f"{count} jobs of {size_px} px", begin_s)
            figures |= crowd_figures(work, count, size_px)
        tell(f"one job of {size_px} px", begin_s)
        figures[f"one_job_{size_px}px"] = against_bare_loop(work, size_px)
    tell("entry, and changing LoRAs", begin_s)
    figures["entry_steps"] = entry_steps(work)
    figures["lora_switch_ms"] = lora_switch_ms(work, folder)
    print(json.dumps(figures))


def tell(what: str, begin_s: float) -> None:
    """What begins now, and how long it has been until now."""
    print(f"  {perf_counter() - begin_s:6.1f} s  {what}", file=sys.stderr, flush=True)


def load(file: Path) -> Components:
    """The small checkpoint, on the CPU in float32."""
    source = ModelSource(
        model_id=ModelId("sd"), name="sd", uri=file.as_uri(), model_type=ModelType.CHECKPOINT
    )
    return load_components(source, torch.device("cpu"), torch.float32)


def job(number: int, size_px: int, steps: int = STEPS) -> Asked:
    """One of a crowd in which everybody is different but for the size."""
    return Asked(
        JobSpec(
            prompt=f"a red ball, number {number}",
            negative_prompt="blue",
            seed=number,
            count=1,
            steps=steps,
            guidance_scale=3.0 + number / 2,
            width_px=size_px,
            height_px=size_px,
            scheduler=MIXED[number % len(MIXED)],
        )
    )


def crowd(count: int, size_px: int) -> list[Asked]:
    """Jobs of which every second one is done a little earlier."""
    return [job(number, size_px, STEPS - 2 * (number % 2)) for number in range(count)]


def check(work: EngineResources) -> None:
    """The gate. Raises: SystemExit, if a picture made in company is not the one made alone."""
    jobs = crowd(4, SIZES_PX[0])
    for made, asked in zip(make_together(work, jobs, slots=4), jobs, strict=True):
        if (made - make_alone(work, asked)).abs().max().item() > BOUND:
            sys.exit("gate failed: made in company is not made alone")


def crowd_figures(work: EngineResources, count: int, size_px: int) -> dict[str, float]:
    """Jobs a second together over one after the other, and that gain over the one that bare calls of the
    UNet show for the same steps (1: all that can be gained)."""
    jobs = crowd(count, size_px)
    together_s, apart_s = in_turns(
        partial(make_together, work, jobs, count), partial(make_one_by_one, work, jobs), times=2
    )
    gain = apart_s / together_s
    return {
        f"gain_{count}_jobs_{size_px}px": gain,
        f"share_{count}_jobs_{size_px}px": gain / bare_gain(work.parts, jobs),
    }


def make_one_by_one(work: EngineResources, jobs: Sequence[Asked]) -> None:
    """Make the latents of all jobs, each in a studio of its own."""
    for asked in jobs:
        make_together(work, [asked], 1)


def bare_gain(parts: Components, jobs: Sequence[Asked]) -> float:
    """What the same calls of the UNet would gain if nothing else took any time."""
    size_px = jobs[0].spec.width_px
    calls = [asked.spec.steps for asked in jobs]
    sizes = {sum(1 for own in calls if own > step) for step in range(max(calls))} | {1}
    cost_s = bare_calls_s(parts, sorted(sizes), size_px)
    together_s = sum(cost_s[sum(1 for own in calls if own > step)] for step in range(max(calls)))
    return sum(calls) * cost_s[1] / together_s


def bare_calls_s(parts: Components, counts: Sequence[int], size_px: int) -> dict[int, float]:
    """Seconds of a bare call of the UNet for so many pictures: the shortest of some, made in turns."""
    unet = bare_unet(parts)

    def call(count: int) -> None:
        sample = torch.zeros(2 * count, 4, size_px // 8, size_px // 8)
        timesteps = torch.full((2 * count,), 500)
        embeds = torch.zeros(2 * count, 77, parts.unet_shape.cross_attention_width)
        unet(sample, timesteps, encoder_hidden_states=embeds, return_dict=False)

    with torch.inference_mode():
        taken = [{count: seconds(partial(call, count)) for count in counts} for _ in range(BARE_CALLS)]
    return {count: min(one[count] for one in taken) for count in counts}


def bare_unet(parts: Components) -> nn.Module:
    """The UNet as diffusers makes it, on the same weights."""
    with torch.device("meta"):
        empty = diffusers.UNet2DConditionModel.from_config(dict(parts.unet_config))
    return fill(empty, parts.networks[Network.UNET].state_dict(), parts.device)


def against_bare_loop(work: EngineResources, size_px: int) -> float:
    """The time of one job over that of the loop of a pipeline, written out, for the same job."""
    asked = job(0, size_px, 2 * STEPS)
    encoded_prompts = work.prompt_encoder.condition(order_of("bare", asked))
    unet = bare_unet(work.parts)
    ours_s, bare_s = in_turns(
        lambda: make_together(work, [asked], 1),
        lambda: bare_loop(work.parts, unet, asked, encoded_prompts.conditioning.embeds),
        times=3,  # a hundredth is to be told apart here
    )
    return ours_s / bare_s


@torch.inference_mode()
def bare_loop(parts: Components, unet: nn.Module, asked: Asked, embeds: Tensor) -> Tensor:
    """What a pipeline does between the prompt's embeds and the VAE."""
    spec = asked.spec
    name, options = CLASSES[spec.scheduler]
    scheduler = getattr(diffusers, name).from_config({**parts.scheduler_config, **options})
    scheduler.set_timesteps(spec.steps)
    generator = torch.Generator().manual_seed(spec.seed)
    latents: Tensor = torch.randn(1, 4, spec.height_px // 8, spec.width_px // 8, generator=generator)
    latents = latents * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        rows = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        (noise,) = unet(rows, timestep, encoder_hidden_states=embeds, return_dict=False)
        away, towards = noise.chunk(2)
        noise = away + spec.guidance_scale * (towards - away)
        latents = scheduler.step(noise, timestep, latents, return_dict=False)[0]
    return latents


def entry_steps(work: EngineResources) -> float:
    """Steps of a busy engine until a job that enters has made its first."""
    gathered = Gathered()
    engine_core = EngineCore(work, gathered.finish, 8, gathered.emit, Bell().ring)
    for number in range(4):
        engine_core.admit(order_of(f"busy-{number}", job(number, SIZES_PX[number % 2])))
    for _ in range(3):
        engine_core.step()
    engine_core.admit(order_of("late", job(9, SIZES_PX[0])))
    taken = 0
    while not any(isinstance(one, Stepped) and one.job_id == "late" for one in gathered.outcomes):
        engine_core.step()
        taken += 1
    for name in ("late", *(f"busy-{number}" for number in range(4))):
        engine_core.cancel(JobId(name))
    return float(taken)


def lora_switch_ms(work: EngineResources, folder: Path) -> float:
    """Milliseconds from one LoRA to another that is loaded: the median of some.

    Raises: SystemExit, if after that either LoRA is not bit for bit what it is when all is freshly loaded, or
    the bare checkpoint not what it was before.
    """
    plain = job(0, SIZES_PX[0], 2)
    before = make_alone(work, plain)
    lora_manager = work.adapters.lora_manager
    sources = [random_lora(work.parts, folder / f"lora-{seed}.safetensors", seed) for seed in (1, 2)]
    sets = [lora_manager.load_set([one], [LoraUse(model_id=one.model_id)]) for one in sources]
    lora_manager.apply(sets[0])
    switch_s = median(seconds(partial(lora_manager.apply, sets[number % 2])) for number in range(1, 10))
    for one in sources:
        dressed = Asked(structs.replace(plain.spec, loras=(LoraUse(model_id=one.model_id),)), models=(one,))
        fresh = make_alone(bare_resources(load(folder / "sd.safetensors")), dressed)
        if not torch.equal(fresh, make_alone(work, dressed)):
            sys.exit("gate failed: a LoRA that was changed for another is not what it is freshly loaded")
    if not torch.equal(before, make_alone(work, plain)):
        sys.exit("gate failed: a LoRA was left on")
    return switch_s * 1000


def in_turns(
    first: Callable[[], object], second: Callable[[], object], times: int = 1
) -> tuple[float, float]:
    """Seconds of both: the shortest of so many in the order A B B A, after a call to warm up."""
    first()
    taken = [[seconds(work) for work in (first, second, second, first)] for _ in range(times)]
    return min(min(a, d) for a, _, _, d in taken), min(min(b, c) for _, b, c, _ in taken)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begin_s = perf_counter()
    work()
    return perf_counter() - begin_s


if __name__ == "__main__":
    main()
