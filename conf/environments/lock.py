"""`make lock`: pins in conf/constraints/ what each set of setup.cfg brings, for all Pythons at once.

Pins that still fit stay. `make lock UPGRADE=name` takes the newest release of one package that fits,
UPGRADE=all those of all.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from conf.environments.sets import CONSTRAINTS, ROOT, Pins, extras

_HEADER: Final = "# Made by `make lock` from setup.cfg; do not edit.\n"
_WITH_CUDA: Final = re.compile(r"(?m)^(?:triton|cuda-[\w-]+|nvidia-(?!ml-py)[\w-]+)==.*\n")
_WITHIN: Final = re.compile(r", -c [^\s,]+|-c [^\s,]+, ")
"""The file that held a pin, which is no reason to have it."""
_UNLOCKED: Final = ("peers",)
"""Built from sources, for one benchmark."""
_PYTHON_AFTER: Final = "3.15"
"""The first Python for which some packages have no wheels."""
_PYTHON_AFTER_FACES: Final = "3.13"


@dataclass(frozen=True, slots=True)
class Platform:
    """What the pins are solved for. On other processors they hold as far as packages have wheels for them."""

    python_after: str = _PYTHON_AFTER

    @property
    def conditions(self) -> tuple[str, ...]:
        """Markers that hold for every pin."""
        return (
            f"python_full_version < '{self.python_after}'",
            "implementation_name == 'cpython'",
            "platform_machine == 'x86_64'",
            "sys_platform == 'linux'",
        )

    def simplify(self, text: str) -> str:
        """Pins without these markers, which uv repeats in each line, and without the files that held them."""
        text = _WITHIN.sub("", text)
        for marker in map(re.escape, self.conditions):
            text = re.sub(rf" ; {marker}(?=  #|\n)| and {marker}|(?<=; ){marker} and ", "", text)
        return text


def lock(folder: Path, upgrade: Sequence[str]) -> None:
    """Write every file of conf/constraints/ into `folder`, from the pins that are there.

    All but `faces` and `lowest` are parts of one resolution. What mediapipe holds back is pinned in `faces`
    alone. Raises: subprocess.CalledProcessError, if there is no solution.
    """
    locked = [name for name in extras() if name not in _UNLOCKED]
    dev, cpu, faces, lowest = (folder / pins.file for pins in (Pins.DEV, Pins.CPU, Pins.FACES, Pins.LOWEST))
    _compile(dev, [name for name in locked if name != "faces"], upgrade)
    _compile(folder / Pins.CORE.file, [], (), within=dev)
    for pins in (Pins.CPU, Pins.CUDA):
        _compile(folder / pins.file, ["worker", "pose", "mcp", pins], (), within=dev)
    cpu.write_text(without_cuda(cpu.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copyfile(dev, faces)
    _compile(faces, locked, (), platform=Platform(_PYTHON_AFTER_FACES))
    shutil.copyfile(dev, lowest)
    with TemporaryDirectory() as name:
        floors = Path(name, "floors.txt")
        _compile(floors, [], ("--resolution", "lowest-direct"))
        _compile(lowest, ["test"], (), within=floors)


def _compile(
    file: Path,
    sets: Sequence[str],
    options: Sequence[str],
    within: Path | None = None,
    platform: Platform = Platform(),
) -> None:
    """Pin the core with some sets in a file, keeping what fits of its pins and everything of `within`."""
    command = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "compile",
        "setup.cfg",
        "--quiet",
        "--universal",
    ]
    command += ["--python-version", "3.11", "--no-header", "--annotation-style", "line", *options]
    command += [word for name in sets for word in ("--extra", name)]
    command += [] if within is None else ["--constraints", str(within)]
    with TemporaryDirectory() as name:
        environments = f'environments = ["{" and ".join(platform.conditions)}"]'
        Path(name, "pyproject.toml").write_text(f"[tool.uv]\n{environments}\n", encoding="utf-8")
        command += ["--project", name, "--output-file", str(file)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    file.write_text(_HEADER + platform.simplify(file.read_text(encoding="utf-8")), encoding="utf-8")


def without_cuda(pins: str) -> str:
    """Pins without what torch brings on Linux, unless it is a build for the CPU."""
    return _WITH_CUDA.sub("", pins)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write conf/constraints/."""
    parser = argparse.ArgumentParser(prog="python -m conf.environments.lock", description=__doc__)
    parser.add_argument("--upgrade", default="", metavar="NAME,...", help="packages to renew, or all")
    names = parser.parse_args(arguments).upgrade
    if names == "all":
        lock(CONSTRAINTS, ["--upgrade"])
    else:
        lock(CONSTRAINTS, [word for name in names.split(",") if name for word in ("--upgrade-package", name)])


if __name__ == "__main__":
    main()
