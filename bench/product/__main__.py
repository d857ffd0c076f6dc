"""How long does a user wait for a picture of a full-size SD 1.5? `python -m bench.product`

The real server, with workers as its Manager starts them, is asked over HTTP as a client asks it. Beside it
the bare loop of diffusers in a process of its own (`bench/product/bare_loop.py`) and, where they are
installed, stable-diffusion.cpp's server and ComfyUI: the same file (random weights of half precision, 2.1 GB,
made once in a cache folder), the same size, Euler, the same steps, cfg 7. Each round starts all processes
anew, every other one in the reverse order; one runs at a time.

Gates, before anything is measured: our picture is the bare loop's to 1 of 255 in every byte; a peer's, which
draws another noise, has the right size, shows something, and another thing for another prompt.

figures: `one_job_64px_s`: from the request to the picture, the median of some jobs after a first one;
`_cpu_s`: seconds of the processor, of all processes of the side; `_faults_per_step`: page faults of the
process that makes the picture, those of the whole job over its steps; `_most_faults_per_job`: of the job that
had most; of ours, which tells how far a job is, also `_denoising_faults_per_step` of the steps alone, and
`_other_faults_per_image`, of prompt, decoding and file; `_memory_mb`: what all processes hold afterwards.
`start_s`: from nothing to the first picture, the file in the page cache and the model registered.
`queued_4_jobs_per_s`: so many clients at once. `killed_lost`: of 11 queued jobs, after kill -9 of every
process and a new start. `X_by_bare` is ours over the bare loop's (its quickest process), `_by_sd_cpp` and
`_by_comfyui` ours over the peer's of the same round. Of `queued`, more is better; of all else, less.

A process takes some minutes. `--keep FILE` keeps what was measured, so that a run can go on where it was
broken off, or a side or a size be added later; `--brief` is one round of one job at the smallest size.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.product.checkpoint import Checkpoint, cache_folder, ensure_checkpoint
from bench.product.figures import goals_of, spreads
from bench.product.gate import References
from bench.product.kept import Kept
from bench.product.killed import KILLED, killed
from bench.product.measure import SMALLEST_PX, Figures, measure
from bench.product.options import Options, parse
from bench.product.sides import Side, sides_of
from bench.report import print_report


def main() -> None:
    """Measure and print. SIGTERM ends it as Ctrl-C does: what it has started ends with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = parse(__doc__)
    checkpoint = ensure_checkpoint(cache_folder(os.environ))
    kept = Kept.read(options.keep)
    # Short: the path of a socket may have 107 bytes.
    with TemporaryDirectory(prefix="spoon-", dir="/tmp") as name:
        run = Run(options, checkpoint, Path(name), kept)
        try:
            run.everything(sides_of(options.sides, checkpoint, os.environ))
        finally:
            report(kept)


def report(kept: Kept) -> None:
    """Print what is there, also when the rest was broken off."""
    if found := spreads(kept.figures):
        print_report("product", found, goals_of(found))


@dataclass(frozen=True, slots=True)
class Run:
    """What is measured by one call of this program, on a folder of its own."""

    options: Options
    checkpoint: Checkpoint
    folder: Path
    kept: Kept

    def everything(self, sides: Sequence[Side]) -> None:
        """All rounds of all sides, but what is kept already. Raises: SystemExit, if a gate fails."""
        plan = self.options.plan
        sizes_px = dict.fromkeys((SMALLEST_PX, *plan.sizes_px))
        References(self.checkpoint).ensure([plan.job(0, size_px) for size_px in sizes_px], self.folder)
        for number in range(self.options.rounds):
            for side in sides if number % 2 == 0 else reversed(sides):
                self._one_process(side, number)
        if self.options.is_killed:
            for side in sides:
                self._killed(side)

    def _one_process(self, side: Side, number: int) -> None:
        plan, name = self.options.plan, side.kind.name
        missing = [part for part in plan.parts(side) if not self.kept.has(name, number, part)]
        if missing:
            side.kind.prepare(self.folder)
            for part, figures in measure(side, self.checkpoint.file, self.folder, plan, missing):
                self._keep(name, number, part, figures)

    def _killed(self, side: Side) -> None:
        """Once for each side that has a queue: its answer is a count."""
        if side.queue is not None and not self.kept.has(side.kind.name, 0, KILLED):
            side.queue.prepare(self.folder)
            self._keep(side.kind.name, 0, KILLED, killed(side.queue, self.folder))

    def _keep(self, name: str, number: int, part: str, figures: Figures) -> None:
        self.kept.add(name, number, part, figures)
        told = ", ".join(f"{figure} {value:.3f}" for figure, value in figures.items())
        print(f"round {number + 1} of {self.options.rounds}, {name}: {told}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
