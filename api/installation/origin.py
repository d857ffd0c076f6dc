"""Which sets of packages are right for this machine, and the one command that adds them to the running copy.

The command fits the way in which it was installed: from a checkout, or from a wheel by pip, pipx or uv. The
project is on no package index: its name alone would find nothing there, or the package of somebody else.
"""

import platform
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from shlex import join
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from api.installation.diagnosis import CheckResult, Verdict
from api.installation.driver import Runtime
from kernel.protocol.type_info import analyzed

DISTRIBUTION: Final = "automatic-spoon"
CHECKOUT: Final = Path(__file__).parents[2]
"""The folder of the checkout, if the running copy is one."""
_CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"
_TORCH: Final = ("torch", "torchvision")
_PIPX_MARK: Final = "pipx_metadata.json"
_UV_TOOL_MARK: Final = "uv-receipt.toml"


@dataclass(frozen=True, slots=True)
class Copy:
    """How a copy of this project was installed.

    `checkout`: its folder, if it runs from one. `url`: where its wheel or its folder was (PEP 610), None if
    it came from an index. `prefix`: the environment's folder. `has_pip`: whether pip is in the environment.
    """

    checkout: Path | None
    url: str | None
    version: str
    prefix: Path
    has_pip: bool

    @classmethod
    def running(cls) -> "Copy":
        """The copy that runs."""
        try:
            distribution = metadata.distribution(DISTRIBUTION)
        except metadata.PackageNotFoundError:
            distribution = None
        origin = distribution.read_text("direct_url.json") if distribution is not None else None
        return cls(
            checkout=CHECKOUT if (CHECKOUT / "Makefile").is_file() else None,
            url=msgspec.json.decode(origin, type=analyzed(_Origin)).url if origin else None,
            version="" if distribution is None else distribution.version,
            prefix=Path(sys.prefix),
            has_pip=find_spec("pip") is not None,
        )

    def command(self, sets: Collection[str]) -> str:
        """The command that adds sets to it, for a shell."""
        extras = ",".join(sorted(sets))
        if self.checkout is not None:
            return self._make(self.checkout, extras)
        package = self._package(extras)
        if (self.prefix / _UV_TOOL_MARK).is_file():
            return join(["uv", "tool", "install", "--force", "--torch-backend=auto", package])
        if self._is_without_pip:
            return join([*self._pip("install"), "--torch-backend=auto", package])
        if Runtime.CPU not in sets:
            return join([*self._pip("install"), package])
        torch = join([*self._pip("install"), "--no-deps", "--index-url", _CPU_INDEX, *_TORCH])
        return f"{torch} && {join([*self._pip('install'), package])}"

    def repair(self, rivals: Sequence[str]) -> str:
        """The command that writes its own files anew, and leaves all other packages as they are.

        `rivals`: distributions to remove first, with the files that they share with it.
        """
        again = "--reinstall" if self._is_without_pip else "--force-reinstall"
        install = join([*self._pip("install"), again, "--no-deps", self._package("")])
        confirmed = [] if self._is_without_pip else ["--yes"]
        return f"{join([*self._pip('uninstall'), *confirmed, *rivals])} && {install}" if rivals else install

    def _pip(self, command: str) -> list[str]:
        """What changes its environment as pip does."""
        if self._is_of_pipx:
            return ["pipx", "runpip", DISTRIBUTION, command]
        python = str(self.prefix / "bin" / "python")
        if self._is_without_pip:
            return ["uv", "pip", command, "--python", python]
        return [python, "-m", "pip", command]

    @property
    def _is_of_pipx(self) -> bool:
        return (self.prefix / _PIPX_MARK).is_file()

    @property
    def _is_without_pip(self) -> bool:
        """True if uv made its environment: pipx lends its own pip."""
        return not self.has_pip and not self._is_of_pipx

    def _make(self, folder: Path, extras: str) -> str:
        own = [] if self.prefix == folder / ".venv" else [f"VENV={self.prefix}"]
        return join(["make", "-C", str(folder), "venv", *own, f"EXTRAS={extras}"])

    def _package(self, extras: str) -> str:
        """What an installer calls this project with these extras."""
        name = f"{DISTRIBUTION}[{extras}]" if extras else DISTRIBUTION
        if self.url is None:
            return f"{name}=={self.version}"
        parts = urlsplit(self.url)
        if parts.scheme == "file" and not Path(unquote(parts.path)).exists():
            return f"FILE.whl[{extras}]" if extras else "FILE.whl"
        return f"{name} @ {self.url}"


class _Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What an installer notes of the place that it took a package from."""

    url: str


def right_sets(are_workers_local: bool, kind: Runtime) -> frozenset[str]:
    """The sets that a machine needs: none beside the core, if its workers run elsewhere."""
    return frozenset({"worker", kind}) if are_workers_local else frozenset()


def install_command(*sets: str) -> str:
    """The command that adds sets to the running copy."""
    return Copy.running().command(sets)


def package_sets(are_workers_local: bool, kind: Runtime, versions: Mapping[str, str | None]) -> CheckResult:
    """The sets for this machine. `versions`: those of torch and onnxruntime-gpu, None if not installed."""
    python = f"Python {'.'.join(platform.python_version_tuple()[:2])} on {platform.machine()}"
    gpu = "an NVIDIA driver" if kind is Runtime.CUDA else "no NVIDIA driver"
    sets = right_sets(are_workers_local, kind)
    found = f"{', '.join(sorted(sets)) or 'the core'} for {python} with {gpu}"
    is_for_cpu = (versions.get("torch") or "").endswith("+cpu")
    if kind is Runtime.CUDA and are_workers_local and is_for_cpu:
        return CheckResult(
            subject="package sets",
            verdict=Verdict.NOTE,
            found=f"{found}, but torch {versions['torch']} does not use the GPU",
            remedy=install_command(*sets),
        )
    return CheckResult(subject="package sets", verdict=Verdict.OK, found=found)
