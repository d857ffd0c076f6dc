"""From what was measured of each side in each round to ratios, and to the goals that they have."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final

from bench.report import Goal, Spread

OURS: Final = "ours"
BARE: Final = "bare"
SD_CPP: Final = "sd_cpp"
COMFYUI: Final = "comfyui"
SIDES: Final = (OURS, BARE, SD_CPP, COMFYUI)
Rounds = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Of each side, of each round: figures by their names."""

GOALS: Final = {
    **{f"one_job_{size_px}px_by_bare": Goal(1.0) for size_px in (64, 128, 256, 512)},
    "one_job_64px_by_sd_cpp": Goal(1.0),
    "one_job_128px_by_sd_cpp": Goal(0.7),
    "queued_4_by_sd_cpp": Goal(1.7, is_floor=True),
    "queued_16_by_sd_cpp": Goal(2.0, is_floor=True),
    "start_by_bare": Goal(1.0),
    **{f"ours_one_job_{size_px}px_faults_per_step": Goal(100.0) for size_px in (64, 128, 256, 512)},
    **{f"ours_one_job_{size_px}px_denoising_faults_per_step": Goal(100.0) for size_px in (64, 128, 256, 512)},
    "ours_killed_lost": Goal(0.0),
}


def spreads(rounds: Rounds) -> dict[str, Spread]:
    """Everything, the ratios last."""
    plain = {
        f"{side}_{name}": Spread.of([found[name] for found in of_side.values() if name in found])
        for side, of_side in rounds.items()
        for name in dict.fromkeys(name for found in of_side.values() for name in found)
    }
    return {**plain, **{name: Spread.of(values) for name, values in ratios(rounds).items()}}


def goals_of(found: Mapping[str, Spread]) -> dict[str, Goal]:
    """Those that can be judged."""
    return {name: goal for name, goal in GOALS.items() if name in found}


def ratios(rounds: Rounds) -> dict[str, list[float]]:
    """Ours over another side's, one for each round of ours.

    A job of the bare loop is the quickest of all its rounds: whether one of its processes keeps the memory of
    its scratch buffers or asks the system for it at each call is luck, and makes it up to twice as slow. All
    other figures are compared with those of the same round.
    """
    found: dict[str, list[float]] = {}
    for other in (BARE, SD_CPP, COMFYUI):
        for name in sorted({name for of_round in rounds.get(other, {}).values() for name in of_round}):
            short = short_name(name)
            values = compared(rounds, name, other) if short else []
            if short and values:
                found[f"{short}_by_{other}"] = values
    return found


def short_name(name: str) -> str | None:
    """What a ratio of it is called; nothing, where a ratio tells nothing."""
    for ending, kept in (("_cpu_s", "_cpu"), ("_jobs_per_s", ""), ("_s", "")):
        if name.endswith(ending):
            return name.removesuffix(ending) + kept
    return None


def compared(rounds: Rounds, name: str, other: str) -> list[float]:
    """Of each round that has the figure on our side, over that of the other."""
    ours = values_of(rounds, OURS, name)
    theirs = values_of(rounds, other, name)
    if not theirs:
        return []
    choose: Callable[[Sequence[float]], float] = min if is_quickest(name, other) else median
    usual = choose(list(theirs.values()))
    is_paired = not is_quickest(name, other)
    return [value / (theirs.get(number, usual) if is_paired else usual) for number, value in ours.items()]


def is_quickest(name: str, other: str) -> bool:
    return other == BARE and name.startswith("one_job_")


def values_of(rounds: Rounds, side: str, name: str) -> dict[int, float]:
    return {number: found[name] for number, found in rounds.get(side, {}).items() if name in found}
