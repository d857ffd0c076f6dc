"""The sets of packages in setup.cfg, and the constraints that each comes with."""

import re
from collections.abc import Collection, Iterator
from configparser import ConfigParser
from enum import StrEnum
from pathlib import Path
from typing import Final

from api.installation.driver import Runtime

ROOT: Final = Path(__file__).parents[2]
CONSTRAINTS: Final = ROOT / "conf" / "constraints"
RUNTIMES: Final = frozenset(Runtime)
"""Two builds of onnxruntime that overwrite each other: an environment has one of them at most."""
FIRST_WITHOUT_FACES: Final = (3, 13)
"""mediapipe is for older Pythons."""
_TESTED: Final = frozenset({"training", "test", "dev"})


class UnknownSet(ValueError):
    """setup.cfg has no such extra."""


class TwoRuntimes(ValueError):
    """The sets cpu and cuda overwrite each other's files: name one of them, or none to get the machine's."""


class Pins(StrEnum):
    """The files in conf/constraints/."""

    CORE = "core"
    CPU = "cpu"
    CUDA = "cuda"
    DEV = "dev"
    FACES = "faces"
    LOWEST = "lowest"

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self}.txt"


def extras() -> tuple[str, ...]:
    """The names of all sets but the core, which has none."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return tuple(setup["options.extras_require"])


def pinned(pins: Pins) -> dict[str, str]:
    """The versions in a file of constraints, by name."""
    lines = (CONSTRAINTS / pins.file).read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([\w.-]+)==([^\s;]+)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def wanted(text: str, runtime: Runtime) -> frozenset[str]:
    """The sets that a list such as `worker,pose` names, with the machine's runtime if workers are among them.

    Raises: UnknownSet; TwoRuntimes.
    """
    named = frozenset(filter(None, re.split(r"[,\s]+", text)))
    unknown = sorted(named.difference(extras()))
    if unknown:
        raise UnknownSet(f"there is no set {', '.join(unknown)}; there are {', '.join(sorted(extras()))}")
    if named >= RUNTIMES:
        raise TwoRuntimes(TwoRuntimes.__doc__)
    return named | {runtime} if "worker" in named and not named & RUNTIMES else named


def pins_of(sets: Collection[str], python: tuple[int, ...]) -> Iterator[Pins]:
    """The constraints for some sets on a Python.

    Without PyTorch's index for CPUs, torch is the build that brings CUDA, whose pins the CPU's lack.
    """
    if "faces" in sets and python < FIRST_WITHOUT_FACES:
        yield Pins.FACES
    elif _TESTED.intersection(sets):
        yield Pins.DEV
    elif "cuda" in sets:
        yield Pins.CUDA
    elif sets:
        yield from (Pins.CPU, Pins.CUDA)
    else:
        yield Pins.CORE
