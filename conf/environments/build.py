"""`make venv`: an environment that has the wanted sets, made or upgraded; nothing is done if it has them.

A set that is there stays. `cpu` and `cuda` replace each other, and follow the machine unless one is named.
"""

import argparse
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from api.installation.driver import Runtime, runtime
from conf.environments.sets import CONSTRAINTS, ROOT, Pins, TwoRuntimes, UnknownSet, pinned, pins_of, wanted

STAMP: Final = ".installed"
"""Written last, so that an installation that broke off is done again."""
_TORCH: Final = ("torch", "torchvision")
"""Built for one another, and all that is ever taken from PyTorch's index."""
_ONNXRUNTIME: Final = {Runtime.CPU: "onnxruntime", Runtime.CUDA: "onnxruntime-gpu"}
_LIBRARY: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The folder of packages in an environment."""
_INDEX_TIMEOUT_S: Final = 5.0
_CUDA_GB: Final = 4.5
"""What the ordinary build of torch brings beside itself on Linux."""
_SIZES_GB: Final = {"worker": 1.7, "pose": 0.1, "faces": 0.6, "dev": 0.4, "": 0.1}
"""By set; python -m conf.environments.measure."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The sets of an environment, and the digest of the files that decided on their versions."""

    sets: frozenset[str] = frozenset()
    digest: str = ""

    @classmethod
    def read(cls, folder: Path) -> "Installed":
        """What the stamp of an environment says: nothing if there is none, or one of another kind."""
        try:
            sets, digest = (folder / STAMP).read_text(encoding="utf-8").split("\n", 1)
        except (FileNotFoundError, ValueError):
            return cls()
        return cls(frozenset(filter(None, sets.split(","))), digest.strip())

    def write(self, folder: Path) -> None:
        """Write the stamp."""
        (folder / STAMP).write_text(f"{','.join(sorted(self.sets))}\n{self.digest}\n", encoding="utf-8")

    def has(self, sets: frozenset[str], digest: str) -> bool:
        """True if nothing needs to be installed."""
        return self.digest == digest and self.sets >= sets

    def with_sets(self, sets: frozenset[str]) -> frozenset[str]:
        """Its sets and others, whose runtime prevails."""
        return sets | (self.sets - set(Runtime) if sets & set(Runtime) else self.sets)


@dataclass(frozen=True, slots=True)
class Plan:
    """What pip has to do in one environment.

    `torch_index`: PyTorch's index for CPUs, None if there is none or it is not needed. `there`: the
    versions of the distributions in the environment.
    """

    sets: frozenset[str]
    pins: Sequence[Pins]
    torch_index: str | None
    there: Mapping[str, str]

    def commands(self) -> Iterator[list[str]]:
        """The arguments of pip, one list for each call."""
        if surplus := self._surplus():
            yield ["uninstall", "--yes", *surplus]
        if self.torch_index is not None:
            # With the name of the build, and without dependencies: nothing else can come from this index.
            build = self.torch_index.rstrip("/").rpartition("/")[2]
            versions = pinned(self.pins[0])
            torch = [f"{name}=={versions[name]}+{build}" for name in _TORCH]
            yield ["install", "--no-compile", "--no-deps", "--index-url", self.torch_index, *torch]
        constraints = [word for one in self.pins for word in ("-c", str(CONSTRAINTS / one.file))]
        project = f".[{','.join(sorted(self.sets))}]" if self.sets else "."
        yield ["install", "--no-compile", *constraints, "-e", project]

    def _surplus(self) -> list[str]:
        """What has to go first: all of onnxruntime if the other one is there, and torch if it lacks CUDA."""
        gone = []
        for kind, other in ((Runtime.CPU, Runtime.CUDA), (Runtime.CUDA, Runtime.CPU)):
            if kind in self.sets and _ONNXRUNTIME[other] in self.there:
                gone += [name for name in _ONNXRUNTIME.values() if name in self.there]
        if Runtime.CUDA in self.sets:
            gone += [name for name in _TORCH if "+cpu" in self.there.get(name, "")]
        return gone

    @property
    def size_gb(self) -> float:
        """About what the environment takes on the disk."""
        is_for_cpu = self.torch_index is not None or "+cpu" in self.there.get("torch", "")
        has_cuda = "worker" in self.sets and not is_for_cpu
        return sum(_SIZES_GB.get(name, 0.0) for name in {*self.sets, ""}) + has_cuda * _CUDA_GB


def build(folder: Path, text: str, torch_index: str) -> None:
    """Make an environment that has the sets which `text` names, or upgrade it.

    Raises: UnknownSet; TwoRuntimes; subprocess.CalledProcessError, if pip fails.
    """
    before, sets, now = Installed.read(folder), wanted(text, runtime()), digest()
    if before.has(sets, now):
        return
    sets, is_of_another = before.with_sets(sets), _is_of_another_python(folder)
    pins = list(pins_of(sets, sys.version_info[:2]))
    there = {} if is_of_another else dict(_distributions(folder))
    plan = Plan(sets, pins, index_for(sets, pins, torch_index, there), there)
    print(
        f"Setting up {folder} with {', '.join(sorted(sets)) or 'the core'}: about {plan.size_gb:.1f} GB on "
        "the disk, and some minutes in which pip says nothing ...",
        flush=True,
    )
    if is_of_another or not (folder / "bin" / "pip").exists():
        clear = ["--clear"] if is_of_another else []
        subprocess.run([sys.executable, "-m", "venv", *clear, str(folder)], check=True)
    python = str(folder / "bin" / "python")
    for command in plan.commands():
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *command], cwd=ROOT, check=True)
    # pip would compile with one core. What does not compile is a template, or for another Python.
    subprocess.run(
        [python, "-m", "compileall", "-q", "-j", "0", str(folder)], check=False, stdout=subprocess.DEVNULL
    )
    Installed(sets, now).write(folder)


def index_for(
    sets: frozenset[str], pins: Sequence[Pins], torch_index: str, there: Mapping[str, str]
) -> str | None:
    """PyTorch's index if torch has to come from there and it answers; says what it costs if it does not."""
    version = there.get("torch", "").partition("+")[0]
    if not torch_index or not {"worker", Runtime.CPU} <= sets or version == pinned(pins[0])["torch"]:
        return None
    try:
        with urllib.request.urlopen(f"{torch_index.rstrip('/')}/torch/", timeout=_INDEX_TIMEOUT_S):
            return torch_index
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        print(
            f"{torch_index} cannot be reached ({reason}): torch comes with CUDA, {_CUDA_GB} GB more on disk"
        )
        return None


def digest() -> str:
    """Of all that decides what is installed: the files, and the release of Python."""
    files = [ROOT / "setup.cfg", ROOT / "pyproject.toml", *sorted(CONSTRAINTS.glob("*.txt"))]
    return sha256(b"\0".join([_LIBRARY.encode(), *(file.read_bytes() for file in files)])).hexdigest()


def _is_of_another_python(folder: Path) -> bool:
    """True for a virtual environment whose packages this Python does not find."""
    libraries = {path.name for path in folder.glob("lib/python3.*")}
    return (folder / "pyvenv.cfg").is_file() and bool(libraries) and _LIBRARY not in libraries


def _distributions(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and versions of what is installed in an environment."""
    for info in folder.glob(f"lib/{_LIBRARY}/site-packages/*.dist-info"):
        name, _, version = info.name.removesuffix(".dist-info").partition("-")
        yield name.lower().replace("_", "-"), version


def main(arguments: Sequence[str] | None = None) -> None:
    """Build one environment."""
    parser = argparse.ArgumentParser(prog="python -m conf.environments.build", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--sets", default="", metavar="SET,...", help="extras of setup.cfg, none for the core"
    )
    parser.add_argument("--torch-index", default="", metavar="URL", help="where torch for CPUs comes from")
    options = parser.parse_args(arguments)
    try:
        build(options.folder, options.sets, options.torch_index)
    except (UnknownSet, TwoRuntimes) as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{options.folder} is not complete: {' '.join(error.cmd)} ended with {error.returncode}")


if __name__ == "__main__":
    main()
