"""The command line that the scripts share."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from training.families import FAMILIES, Family
from training.loop import Run

CUDA_LOADERS = 3


def run_from_command_line(
    part: Callable[[Run], None], what: str | None, arguments: Sequence[str] | None = None
) -> None:
    """Read how and where to train from the command line, and train."""
    part(run_of(run_parser(what).parse_args(arguments)))


def run_families_from_command_line(
    part: Callable[[Family, Run], None], what: str | None, arguments: Sequence[str] | None = None
) -> None:
    """Read from the command line as well which families to train, and train each."""
    parser = run_parser(what)
    add_family_arguments(parser)
    chosen = parser.parse_args(arguments)
    for family in families_of(chosen):
        part(family, run_of(chosen))


def run_parser(what: str | None) -> argparse.ArgumentParser:
    """Make the parser of a script, with what every script needs to know."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    return parser


def add_family_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which families."""
    parser.add_argument(
        "--family",
        choices=[family.base.value for family in FAMILIES],
        action="append",
        default=[],
        help="only this one (default: both)",
    )


def families_of(chosen: argparse.Namespace) -> list[Family]:
    """Give the chosen families; all, where none was chosen."""
    return [family for family in FAMILIES if not chosen.family or family.base.value in chosen.family]


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
    parser.add_argument("--images", type=int, default=None, help="in the galleries, likewise")


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
        images=chosen.images,
    )
