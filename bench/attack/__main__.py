"""Can somebody who only reaches the port keep the server from others? `python -m bench.attack [NAME ...]`

A real server with fake engines is attacked in one way after the other, each by a process of its own, on the
loopback alone and for some seconds. Meanwhile another process asks for the server's health and reads lists,
each by a new connection, and looks at the memory of the API. Gate: every answer is right, and a job that is
submitted before and after is drawn.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Final

from bench.attack.forces import ATTACKS
from bench.attack.stage import Victim, victim
from bench.report import Goal, Spread, percentile, print_report

ROUNDS: Final = 3
QUIET_S: Final = 4.0
ATTACK_S: Final = 12.0
GOALS: Final = {"health_max_s": 1.0, "get_p99_s": 2.0, "api_peak_mb": 400.0}
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.attack")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ATTACKS)}; default: all")
    parser.add_argument("--once", action="store_true", help="one round instead of three")
    chosen = parser.parse_args()
    names = chosen.names or list(ATTACKS)
    figures: Figures = {}
    for number in range(1 if chosen.once else ROUNDS):
        for name in names if number % 2 == 0 else reversed(names):
            measure(name, figures)
            print(f"round {number + 1}: {name} done", file=sys.stderr)
    goals = {f"{name}_{figure}": Goal(bound) for name in names for figure, bound in GOALS.items()}
    print_report("attack", {name: Spread.of(values) for name, values in figures.items()}, goals)


def measure(name: str, figures: Figures) -> None:
    """One attack on a server of its own."""
    attack = ATTACKS[name]
    with victim(attack.most_open_files) as target:
        target.check_job()
        watch(target, QUIET_S)  # the server has seen every kind of request once
        command = [
            sys.executable,
            "-m",
            "bench.attack.forces",
            name,
            target.host,
            str(target.port),
            str(ATTACK_S),
        ]
        with subprocess.Popen([*command, target.engine_id, str(target.manager_pid)]) as attacker:
            try:
                found = watch(target, ATTACK_S)
            finally:
                attacker.wait(timeout=ATTACK_S + 30)
        if attacker.returncode != 0:
            raise SystemExit(f"gate failed: the attack {name} broke off")
        began_s = time.monotonic()
        target.check_job()
        found["recovered_s"] = time.monotonic() - began_s
        found["log_kb"] = target.log_bytes() / 1000
    for figure, value in found.items():
        figures.setdefault(f"{name}_{figure}", []).append(value)


def watch(target: Victim, seconds: float) -> dict[str, float]:
    """What somebody else sees of the server in these seconds. Raises: SystemExit, if an answer is wrong."""
    command = [sys.executable, "-m", "bench.attack.witness", target.host, str(target.port), str(seconds)]
    ended = subprocess.run(
        [*command, str(target.api_pid)], stdout=subprocess.PIPE, check=False, timeout=seconds + 90
    )
    if ended.returncode != 0:
        raise SystemExit("gate failed: an answer was wrong or did not come")
    seen: dict[str, list[float]] = json.loads(ended.stdout)
    return {
        "health_p50_s": percentile(seen["health_s"], 0.5),
        "health_p99_s": percentile(seen["health_s"], 0.99),
        "health_max_s": max(seen["health_s"]),
        "get_p50_s": percentile(seen["get_s"], 0.5),
        "get_p99_s": percentile(seen["get_s"], 0.99),
        "get_max_s": max(seen["get_s"]),
        "gets": len(seen["get_s"]),
        "api_peak_mb": max(seen["resident_bytes"]) / 1e6,
    }


if __name__ == "__main__":
    main()
