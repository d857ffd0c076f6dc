"""`make sizes`: how large the environment of each set is, and how long it takes with a warm cache of pip.

Each is made in a folder of its own and removed again. Prints the table of docs/installation.md.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final

from conf.environments.build import build

SETS: Final = (
    "",
    "worker,cpu",
    "worker,cpu,pose",
    "worker,cpu,pose,faces",
    "worker,cpu,pose,faces,training,dev",
    "worker,cuda",
)
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One environment. `packages`: how many distributions it has, pip and the project itself included."""

    sets: str
    packages: int
    size_bytes: int
    seconds: float


def measured(sets: str, torch_index: str) -> Measured:
    """Make an environment, look at it, and remove it.

    Raises: what build raises.
    """
    with TemporaryDirectory(prefix="spoon-environment-") as name:
        folder, begin = Path(name, "venv"), monotonic()
        build(folder, sets, torch_index)
        seconds = monotonic() - begin
        packages = len([*folder.glob("lib/python3.*/site-packages/*.dist-info")])
        # Blocks, as du counts them: a small file takes more of the disk than its bytes.
        used = subprocess.run(["du", "-sk", str(folder)], capture_output=True, text=True, check=True).stdout
        return Measured(sets, packages, int(used.split()[0]) * 1024, seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print one set after the other."""
    parser = argparse.ArgumentParser(prog="python -m conf.environments.measure", description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS, metavar="SET,...")
    parser.add_argument("--torch-index", default="", metavar="URL", help="where torch for CPUs comes from")
    options = parser.parse_args(arguments)
    rows = [measured(sets, options.torch_index) for sets in options.sets]
    sys.stdout.write("| sets | packages | size | time |\n|---|---|---|---|\n")
    for one in rows:
        size_mb = f"{one.size_bytes / _MB:,.0f}"
        sys.stdout.write(f"| {one.sets or 'core'} | {one.packages} | {size_mb} MB | {one.seconds:.0f} s |\n")


if __name__ == "__main__":
    main()
