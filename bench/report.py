"""What every benchmark prints: a table for a person, and one line of JSON for a program."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach. `is_floor`: the value must be at least the bound, else at most."""

    bound: float
    is_floor: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.is_floor else value <= self.bound


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie; the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def print_report(bench: str, spreads: Mapping[str, Spread], goals: Mapping[str, Goal]) -> None:
    """Print the table, then the JSON line."""
    width = max(map(len, spreads))
    print(f"{'figure':{width}}  {'median':>12}  {'min':>12}  {'max':>12}  goal")
    for name, spread in spreads.items():
        print(
            f"{name:{width}}  {spread.median:12,.3f}  {spread.low:12,.3f}  {spread.high:12,.3f}  "
            f"{_verdict(goals.get(name), spread.median)}"
        )
    figures = {name: round(spread.median, 4) for name, spread in spreads.items()}
    judged = {
        name: {"value": figures[name], "goal": goal.bound, "met": goal.is_met(spreads[name].median)}
        for name, goal in goals.items()
    }
    print(json.dumps({"bench": bench, "machine": machine(), "figures": figures, "goals": judged}))


def _verdict(goal: Goal | None, value: float) -> str:
    if goal is None:
        return ""
    sign = ">=" if goal.is_floor else "<="
    return f"{sign} {goal.bound:g}  {'met' if goal.is_met(value) else 'MISSED'}"


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count() or 0,
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
