"""Trains and evaluates everything, in order: `python -m training.all --device cuda`.

Each part is its own process, which resumes by itself; so this can be stopped and started again at will. On a
GPU the parts of a stage run side by side, for none of these small networks fills one.
"""

import subprocess
import sys
from collections.abc import Sequence

from kernel.protocol.errors import SpoonError
from training.command import run_parser

STAGES = (
    ("vae", "text_encoder", "remover"),
    ("gallery",),
    ("unet --family sd",),
    ("unet --family sdxl",),  # starts from SD's
    ("lora", "embedding", "controlnet"),
    ("evaluate",),
    ("effects",),
)
"""The parts of a stage run side by side, the stages in order; each part is a script of this folder."""


class PartFailed(SpoonError):
    """A part's process ended with an error; what it had done is kept."""


def train_all(arguments: Sequence[str], *, side_by_side: bool) -> None:
    """Run every stage.

    Raises: PartFailed.
    """
    for stage in STAGES:
        groups = [stage] if side_by_side else [(part,) for part in stage]
        for group in groups:
            _run(group, arguments)


def _run(parts: Sequence[str], arguments: Sequence[str]) -> None:
    """Run some parts side by side, and wait for all of them."""
    processes = {
        part: subprocess.Popen([sys.executable, "-m", *f"training.{part}".split(), *arguments])
        for part in parts
    }
    try:
        failed = [part for part, process in processes.items() if process.wait() != 0]
    finally:
        for process in processes.values():
            process.terminate()
    if failed:
        raise PartFailed(f"{', '.join(failed)} failed; start again to resume")


def main() -> None:
    """Pass the command line on to every part."""
    parser = run_parser(__doc__)
    chosen = parser.parse_args()
    train_all(sys.argv[1:], side_by_side=chosen.device.startswith("cuda"))


if __name__ == "__main__":
    main()
