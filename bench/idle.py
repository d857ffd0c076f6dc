"""What does a server cost that has nothing to do? `python -m bench.idle`

Manager and API together, after they have settled, with one model registered. Gate: both processes live
through the measurement, and neither has torch in it.
"""

import sys
import time
from pathlib import Path
from typing import Final

from bench.report import Goal, Spread, print_report
from bench.server import server

ROUNDS: Final = 3
SETTLE_S: Final = 4.0
WINDOW_S: Final = 30.0
GOALS: Final = {"cpu_percent_of_a_core": Goal(0.1), "memory_mb": Goal(120.0)}
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    figures: Figures = {}
    for number in range(ROUNDS):
        measure(figures)
        print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
    print_report("idle", {name: Spread.of(values) for name, values in figures.items()}, GOALS)


def measure(figures: Figures) -> None:
    """CPU time and resident memory (PSS: shared pages are counted once) of both processes."""
    with server() as running:
        time.sleep(SETTLE_S)
        family = [running.manager.pid, *children(running.manager.pid)]
        if len(family) != 2:
            raise SystemExit(f"gate failed: Manager and API should be two processes, not {len(family)}")
        before_s = sum(map(cpu_seconds, family))
        time.sleep(WINDOW_S)
        used_s = sum(map(cpu_seconds, family)) - before_s
        if any("torch" in Path(f"/proc/{pid}/maps").read_text() for pid in family):
            raise SystemExit("gate failed: torch is loaded")
        figures.setdefault("cpu_percent_of_a_core", []).append(100 * used_s / WINDOW_S)
        figures.setdefault("memory_mb", []).append(sum(map(memory_mb, family)))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    """User and system time. Source: proc_pid_schedstat: nanoseconds on a core, by thread."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"gate failed: process {pid} is gone")


if __name__ == "__main__":
    main()
