"""The command line that the scripts share."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from training.loop import Run

CUDA_LOADERS = 3


def run_from_command_line(
    part: Callable[[Run], None], what: str | None, arguments: Sequence[str] | None = None
) -> None:
    """Read how and where to train from the command line, and train."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    part(run_of(parser.parse_args(arguments)))


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every script needs to know."""
    parser.add_argument("--folder", type=Path, default=Path("build/training"), help="checkpoints and logs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--loaders", type=int, default=None, help="processes that write captions (GPU: 3, CPU: 0)"
    )
    parser.add_argument("--threads", type=int, default=None, help="CPU threads of this process")
    parser.add_argument(
        "--steps", type=int, default=None, help="instead of the part's own number, for a trial"
    )
    parser.add_argument("--pictures", type=int, default=None, help="in the galleries, likewise")


def run_of(chosen: argparse.Namespace) -> Run:
    """Make a run of the arguments; on a GPU, set it up to compute fast."""
    device = torch.device(chosen.device)
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    loaders = chosen.loaders if chosen.loaders is not None else CUDA_LOADERS if device.type == "cuda" else 0
    return Run(
        folder=chosen.folder,
        device=device,
        seed=chosen.seed,
        loaders=loaders,
        steps=chosen.steps,
        pictures=chosen.pictures,
    )
