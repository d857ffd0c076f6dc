"""The sides that can be compared on this machine."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.product import comfyui, sd_cpp
from bench.product.bare import Bare
from bench.product.checkpoint import Checkpoint
from bench.product.figures import COMFYUI, SD_CPP, SIDES
from bench.product.gate import References, check_picture
from bench.product.job import Job
from bench.product.ours import Ours
from bench.product.servers import Kind, QueueKind

REMEDIES: Final = {
    SD_CPP: "build it with the extra `peers` (docs/development.md), or name its server with BENCH_SD_SERVER",
    COMFYUI: "name the folder of its main.py with BENCH_COMFYUI",
}
Check = Callable[[bytes, Job], None]
"""Raises: SystemExit, if a picture is not what it should be."""


@dataclass(frozen=True, slots=True)
class Side:
    """A program, and what its pictures must be. `queue`: the same program, where its jobs have ids."""

    kind: Kind
    check: Check
    queue: QueueKind | None = None


def sides_of(wanted: Sequence[str] | None, checkpoint: Checkpoint, environ: Mapping[str, str]) -> list[Side]:
    """Those that are wanted, or all that are there. Raises: SystemExit, if a wanted one is not."""
    found = [*own_sides(checkpoint), *peers(checkpoint, environ)]
    names = [side.kind.name for side in found]
    for name in REMEDIES:
        if name not in names and name in (wanted or SIDES):
            told = f"{name} is not there: {REMEDIES[name]}"
            if wanted is not None:
                raise SystemExit(told)
            print(f"not compared: {told}", file=sys.stderr, flush=True)
    return [side for side in found if wanted is None or side.kind.name in wanted]


def own_sides(checkpoint: Checkpoint) -> list[Side]:
    """Their pictures must be the same."""
    exact = References(checkpoint).check
    ours = Ours(checkpoint)
    return [Side(ours, exact, ours), Side(Bare(checkpoint), exact)]


def peers(checkpoint: Checkpoint, environ: Mapping[str, str]) -> list[Side]:
    """Those that are there."""
    found: list[QueueKind] = []
    if (executable := sd_cpp.program(environ)) is not None:
        found.append(sd_cpp.SdCpp(checkpoint, executable))
    if (installed := comfyui.installation(environ)) is not None:
        found.append(comfyui.ComfyUi(checkpoint, *installed))
    return [Side(kind, check_picture, kind) for kind in found]
