"""What the engine makes of a GPU. `python -m bench.gpu`, on a machine that has one; a few minutes.

SD 1.5 at 512 x 512 and SDXL at 1024 x 1024 with random weights, 30 steps with guidance: one job, and 16 mixed
jobs at once, against a plain pipeline of diffusers and against what the GPU could do at the rate of its own
matrix multiplications, measured in the same run. Without preparation (`off`) and with CUDA graphs (`graphs`);
`--all` measures compiled blocks (`regional`) as well, `--quick` makes one round of 10 steps of SD 1.5 alone.

Gates: pictures of small checkpoints are those of a CPU, in company those made alone; no step waits for the
GPU; latents of the large ones are those of the plain pipeline, as far as half precision goes.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch

from bench.gpu_engine import GPU, LoadedEngine, Setup, loaded
from bench.gpu_gate import check_large, check_small
from bench.gpu_stock import PlainPipeline
from bench.gpu_work import tera_flop
from bench.report import Goal, Spread, print_report
from engine_worker.engine.loading.random_weights import write_random_file
from engine_worker.formats.architecture import Architecture
from engine_worker.formats.released import SD, SDXL
from engine_worker.formats.single_file import describe_file
from kernel.core.memory_model.memory_demand import MemoryDemand, need_bytes
from kernel.protocol.enums import Compilation, MemoryPlan

STEPS: Final = 30
MANY: Final = 16
MIXED_ROUNDS: Final = 3
ROUNDS: Final = 5
SLOTS: Final = 16
RATE_SIDE: Final = 8192
RATE_CALLS: Final = 50


@dataclass(frozen=True, slots=True)
class Subject:
    """A full-size checkpoint, by the name that figures have of it."""

    name: str
    architecture: Architecture


SUBJECTS: Final = (Subject("sd", SD), Subject("sdxl", SDXL))
PROMISED: Final = "memory, promised by taken"
SURPLUS: Final = "memory, surplus of the promise"
ENTRY: Final = "steps to enter"
GOALS: Final = {
    "sd graphs, one: share of the limit": Goal(0.32, is_floor=True),
    "sd graphs, one: times plain": Goal(2.5, is_floor=True),
    "sd graphs, 16: share of the limit": Goal(0.45, is_floor=True),
    "sd graphs, 16: times plain": Goal(3.5, is_floor=True),
    "sdxl graphs, one: share of the limit": Goal(0.46, is_floor=True),
    "sdxl graphs, one: times plain": Goal(1.6, is_floor=True),
    "sdxl graphs, 16: share of the limit": Goal(0.50, is_floor=True),
    "sdxl graphs, 16: times plain": Goal(1.8, is_floor=True),
}
ENDINGS: Final = {
    PROMISED: Goal(1.0, is_floor=True),
    SURPLUS: Goal(0.25),
    ENTRY: Goal(1.0),
}
"""Goals of all figures that end so."""
Figures = dict[str, list[float]]


def main() -> None:
    """Check, measure, print; exits with 1 where there is no GPU or the pictures are wrong."""
    options = _options()
    if not torch.cuda.is_available():
        sys.exit("bench.gpu needs a CUDA device, and torch finds none")
    print(f"{torch.cuda.get_device_name(GPU)}, torch {torch.__version__}", flush=True)
    figures: Figures = {}
    with TemporaryDirectory(prefix="spoon-") as name:
        for figure, value in check_small(Path(name)).items():
            figures[figure] = [value]
        for subject in SUBJECTS[: 1 if options.quick else None]:
            measure(subject, Path(name), options, figures)
    spreads = {figure: Spread.of(values) for figure, values in figures.items()}
    print_report("gpu", spreads, {figure: goal for figure, goal in _goals(spreads) if figure in spreads})


def measure(subject: Subject, folder: Path, options: Namespace, figures: Figures) -> None:
    """Measure one checkpoint in all variants."""
    path = folder / f"{subject.name}.safetensors"
    write_random_file(path, subject.architecture, seed=0, device=GPU)
    size_px = subject.architecture.native_size_px
    steps = 10 if options.quick else STEPS
    for compilation in _variants(options):
        setup = Setup(path, size_px, SLOTS, compilation, steps)
        promised = memory_ratio(setup)
        _note(figures, f"{subject.name} {compilation}: {PROMISED}", promised)
        _note(figures, f"{subject.name} {compilation}: {SURPLUS}", promised - 1)
    plain = PlainPipeline(path, size_px)
    _note(figures, f"{subject.name}: off from the plain pipeline", check_large(path, size_px, plain))
    plain.seconds(steps)
    work = tera_flop(subject.architecture, steps)
    _note(figures, f"{subject.name}: work, TFLOP", work)
    for compilation in _variants(options):
        _print_progress(f"{subject.name} {compilation}")
        with loaded(Setup(path, size_px, SLOTS, compilation, steps)) as (engine, load_s):
            _note(figures, f"{subject.name} {compilation}: load, s", load_s)
            engine.seconds(MANY)
            _note(figures, f"{subject.name} {compilation}: {ENTRY}", engine.steps_to_enter(4))
            pair = Pair(f"{subject.name} {compilation}", engine, plain, steps, work)
            compare(pair, figures, rounds=1 if options.quick else ROUNDS)


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours and theirs, and the work of one picture in TFLOP."""

    name: str
    engine: LoadedEngine
    plain: PlainPipeline
    steps: int
    tera_flop: float


def compare(pair: Pair, figures: Figures, rounds: int) -> None:
    """One job and many, ours and theirs in turns."""
    engine, plain, steps = pair.engine, pair.plain, pair.steps
    for number in range(rounds):
        rate = matrix_rate()
        if number % 2:
            theirs_s, ours_s = plain.seconds(steps), engine.seconds(1)
        else:
            ours_s, theirs_s = engine.seconds(1), plain.seconds(steps)
        _note(figures, "matrix rate, TFLOP/s", rate)
        _note(figures, f"{pair.name}, one: s", ours_s)
        _note(figures, f"{pair.name}, one: plain, s", theirs_s)
        _note(figures, f"{pair.name}, one: times plain", theirs_s / ours_s)
        _note(figures, f"{pair.name}, one: share of the limit", pair.tera_flop / rate / ours_s)
        if number < MIXED_ROUNDS:
            # One after the other the plain pipeline takes as long as 16 times one.
            many_s = engine.seconds(MANY)
            _note(figures, f"{pair.name}, 16: s", many_s)
            _note(figures, f"{pair.name}, 16: times plain", MANY * theirs_s / many_s)
            _note(figures, f"{pair.name}, 16: share of the limit", MANY * pair.tera_flop / rate / many_s)


def memory_ratio(setup: Setup) -> float:
    """The memory that the Manager would reserve for this engine, by what it took of the device."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(GPU)
    before = torch.cuda.memory_reserved(GPU)
    with loaded(setup) as (engine, _):
        engine.seconds(2 * setup.slots)
        free, total = torch.cuda.mem_get_info(GPU)
        # What the device has given out and torch knows nothing of: the context and libraries.
        context = total - free - torch.cuda.memory_reserved(GPU)
    taken = torch.cuda.max_memory_reserved(GPU) - before + context
    profile = describe_file(setup.path).memory
    assert profile is not None, "a checkpoint has a profile"
    demand = MemoryDemand(
        profile=profile,
        extras=(),
        control_nets=0,
        dtype=None,
        width_px=setup.size_px,
        height_px=setup.size_px,
        max_batch=setup.slots,
        compilation=setup.compilation,
    )
    return need_bytes(demand, "cuda", MemoryPlan.FAST, setup.slots) / taken


def matrix_rate() -> float:
    """TFLOP a second of large matrix multiplications in half precision, now."""
    one = torch.randn(RATE_SIDE, RATE_SIDE, device=GPU, dtype=torch.float16)
    for _ in range(RATE_CALLS // 5):
        torch.mm(one, one)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    for _ in range(RATE_CALLS):
        torch.mm(one, one)
    end.record()
    end.synchronize()
    return float(2 * RATE_SIDE**3 * RATE_CALLS / (begin.elapsed_time(end) / 1000) / 1e12)


def _goals(spreads: dict[str, Spread]) -> Iterator[tuple[str, Goal]]:
    yield from GOALS.items()
    for figure in spreads:
        yield from ((figure, goal) for ending, goal in ENDINGS.items() if figure.endswith(ending))


def _variants(options: Namespace) -> tuple[Compilation, ...]:
    if options.all:
        return tuple(Compilation)
    return (Compilation.OFF, Compilation.GRAPHS)


def _options() -> Namespace:
    parser = ArgumentParser(prog="bench.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 10 steps, SD 1.5 alone")
    parser.add_argument("--all", action="store_true", help="compiled blocks as well")
    return parser.parse_args()


def _note(figures: Figures, name: str, value: float) -> None:
    figures.setdefault(name, []).append(value)


def _print_progress(text: str) -> None:
    print(f"measuring {text}", flush=True)


if __name__ == "__main__":
    main()
