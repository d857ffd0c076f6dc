"""`python -m bench.memory`: how well is the memory of an engine predicted from its file's header?

For checkpoints with random weights of several widths, at several sizes and numbers of pictures:
`unet`, `decode`, `encode`, `tiled`: predicted over measured peak of one pass, as torch's allocator counts it;
`process`: predicted need of a whole engine over the peak of its process's own memory (RssAnon, sampled each
millisecond), while it steps, encodes and decodes at the same time. There is no GPU in it: what is measured
is the CPU path in single precision. Goal: 1.00 .. 1.25 everywhere.

`--full` adds checkpoints half as wide as SD 1.5 and SDXL, which take some minutes.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.memory_cases import CASES, FULL_CASES, Case
from bench.report import machine
from kernel.protocol.join import worker_environ

LOWEST: Final = 1.0
HIGHEST: Final = 1.25
KINDS: Final = ("unet", "decode", "encode", "tiled", "process")


@dataclass(frozen=True, slots=True)
class Ratio:
    """Predicted over measured; `measured_bytes` tells whether the figure is worth anything."""

    case: str
    kind: str
    predicted_bytes: int
    measured_bytes: int

    @property
    def value(self) -> float:
        return self.predicted_bytes / self.measured_bytes

    @property
    def is_met(self) -> bool:
        return LOWEST <= self.value <= HIGHEST


def main() -> None:
    """Measure each case in a process of its own, print the table and the JSON line."""
    parser = ArgumentParser(prog="bench.memory", description=__doc__)
    parser.add_argument("--full", action="store_true", help="measure large checkpoints, too")
    parser.add_argument("--brief", action="store_true", help="measure the smallest checkpoint alone")
    options = parser.parse_args()
    cases = CASES[:1] if options.brief else (*CASES, *(FULL_CASES if options.full else ()))
    ratios: list[Ratio] = []
    with TemporaryDirectory(prefix="spoon-bench-") as folder:
        for number, case in enumerate(cases, start=1):
            print(f"case {number} of {len(cases)}: {case.words}", file=sys.stderr, flush=True)
            for ratio in _measure(case, Path(folder)):
                ratios.append(ratio)
                verdict = "met" if ratio.is_met else "MISSED"
                measured_mb, predicted_mb = ratio.measured_bytes / 1e6, ratio.predicted_bytes / 1e6
                print(
                    f"{ratio.case:34} {ratio.kind:8} measured {measured_mb:9.1f} MB  "
                    f"predicted {predicted_mb:9.1f} MB  {ratio.value:5.2f}  {verdict}",
                    flush=True,
                )
    print(json.dumps(_summary(ratios)), flush=True)


def _measure(case: Case, folder: Path) -> list[Ratio]:
    """The passes and the engine in two processes, so that each has held nothing but what is looked at."""
    found: dict[str, tuple[int, int]] = {}
    for module in ("bench.memory_passes", "bench.memory_engine"):
        command = [sys.executable, "-m", module, case.words, str(folder)]
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, env=worker_environ(os.environ)
        )
        if ended.returncode:
            raise RuntimeError(f"{case.words} could not be measured: {ended.stderr[-2000:]}")
        found |= json.loads(ended.stdout.splitlines()[-1])
    return [Ratio(case.words, kind, *found[kind]) for kind in KINDS]


def _summary(ratios: list[Ratio]) -> dict[str, object]:
    spread = {
        f"{kind}_{name}": round(chosen(r.value for r in ratios if r.kind == kind), 3)
        for kind in KINDS
        for name, chosen in (("lowest", min), ("highest", max))
    }
    lowest, highest = min(r.value for r in ratios), max(r.value for r in ratios)
    goals = {
        "lowest": {"value": round(lowest, 3), "goal": LOWEST, "met": lowest >= LOWEST},
        "highest": {"value": round(highest, 3), "goal": HIGHEST, "met": highest <= HIGHEST},
    }
    return {"bench": "memory", "machine": machine(), "figures": spread, "goals": goals}


if __name__ == "__main__":
    main()
