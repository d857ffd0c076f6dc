"""What does stepping together gain, and what does the engine cost beside the UNet? `python -m bench.engine`

The small checkpoint on the CPU, one thread. Each round is a process of its own, because where memory lies can
make one process slower than its twin; what is compared runs in turns within it. Gates: pictures made in
company are those made alone, and nothing of a LoRA stays behind.

one_job: one job over the loop of a pipeline written out. gain: jobs a second together over one after the
other. share: that gain over the one of bare calls of the UNet of the same sizes. entry_steps: until a job
that enters a busy engine has made its first step.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.report import Goal, Spread, print_report
from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from kernel.protocol.vocabulary import ModelBase

ROUNDS: Final = 5
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
    figures: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="spoon-") as name:
        write_random_checkpoint(Path(name) / "sd.safetensors", base=ModelBase.SD, seed=7)
        for _ in range(ROUNDS):
            for figure, value in one_round(name).items():
                figures.setdefault(figure, []).append(value)
    print_report("engine", {figure: Spread.of(values) for figure, values in figures.items()}, GOALS)


def one_round(folder: str) -> dict[str, float]:
    """Raises: SystemExit, if a gate failed."""
    command = [sys.executable, "-m", "bench.engine_round", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
