"""What does stepping together gain, and what does the engine cost beside the UNet? `python -m bench.engine`

The small checkpoint on the CPU, one thread. Each round is a process of its own, because where memory lies can
make one process slower than its twin; what is compared runs in turns within it. Gates: pictures made in
company are those made alone, a LoRA makes what it makes freshly loaded, and nothing of it stays behind.

one_job: one job over the loop of a pipeline written out. gain: jobs a second together over one after the
other. share: that gain over the one of bare calls of the UNet of the same sizes. entry_steps: until a job
that enters a busy engine has made its first step.

Eight minutes on a calm machine; it says where it is. `--rounds 5` for figures that are to be published.
"""

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.report import Goal, Spread, print_report
from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from kernel.protocol.enums import ModelBase

ROUNDS: Final = 2
GOALS: Final = {
    "one_job_64px": Goal(1.03),
    "one_job_128px": Goal(1.03),
    "gain_4_jobs_64px": Goal(1.3, is_floor=True),
    "gain_16_jobs_64px": Goal(1.3, is_floor=True),
    "share_4_jobs_64px": Goal(0.9, is_floor=True),
    "share_16_jobs_64px": Goal(0.9, is_floor=True),
    "share_4_jobs_128px": Goal(0.9, is_floor=True),
    "share_16_jobs_128px": Goal(0.9, is_floor=True),
    "entry_steps": Goal(1.0),
    "lora_switch_ms": Goal(100.0),
}


def main() -> None:
    """Write the checkpoint, run the rounds, print."""
    parser = ArgumentParser(prog="bench.engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often all is measured ({ROUNDS})")
    parser.add_argument("--brief", action="store_true", help="only the smallest crowds and pictures")
    options = parser.parse_args()
    figures: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="spoon-") as name:
        write_random_checkpoint(Path(name) / "sd.safetensors", base=ModelBase.SD, seed=7)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for figure, value in one_round(name, is_brief=options.brief).items():
                figures.setdefault(figure, []).append(value)
    goals = {figure: goal for figure, goal in GOALS.items() if figure in figures}
    print_report("engine", {figure: Spread.of(values) for figure, values in figures.items()}, goals)


def one_round(folder: str, *, is_brief: bool) -> dict[str, float]:
    """What it says of its progress goes on to the terminal. Raises: SystemExit, if a gate failed."""
    command = [sys.executable, "-m", "bench.engine_round", folder, *(["--brief"] if is_brief else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit("the round came to no end: what it said is above")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
