"""Checks of the software: Python, SQLite, and packages with their minimum versions."""

import re
import sys
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Final

from api.installation.diagnosis import CheckResult, Verdict
from api.installation.driver import runtime
from api.installation.origin import CHECKOUT, DISTRIBUTION, install_command, package_sets, right_sets
from kernel.protocol.version import OLDEST_SQLITE

MIN_PYTHON: Final = (3, 11)

_SETUP: Final = CHECKOUT / "setup.cfg"
_REQUIREMENT: Final = re.compile(
    r"^([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?[^;]*(?:;.*extra\s*==\s*['\"](\w+)['\"])?"
)


@dataclass(frozen=True, slots=True)
class Floor:
    """A package and its minimum version. `extra` is None for packages that every process needs."""

    package: str
    lowest: str
    extra: str | None


def software(are_workers_local: bool) -> Iterator[CheckResult]:
    """Python, SQLite and every package. Packages of workers are optional without local workers."""
    yield python(sys.version_info[:3])
    installed = {one.package: _installed(one.package) for one in floors()}
    kind = runtime()
    yield package_sets(are_workers_local, kind, installed)
    remedy = install_command(*right_sets(are_workers_local, kind))
    for one in floors():
        yield package(one, installed[one.package], are_workers_local, remedy)
    if installed.get("apsw"):
        yield sqlite(_sqlite_version())
    yield sd_embed(find_spec("sd_embed") is not None, _installed("sd_embed"))


def python(version: Sequence[int]) -> CheckResult:
    """The Python version."""
    found = ".".join(map(str, version))
    if tuple(version[:2]) >= MIN_PYTHON:
        return CheckResult(subject="python", verdict=Verdict.OK, found=found)
    return CheckResult(
        subject="python", verdict=Verdict.MISSING, found=found, remedy="install Python 3.11 or later"
    )


def package(floor: Floor, version: str | None, are_workers_local: bool, remedy: str) -> CheckResult:
    """One package of setup.cfg. Where no engines run, nothing is said of how to get those of workers."""
    if version is not None and is_at_least(version, floor.lowest):
        return CheckResult(subject=floor.package, verdict=Verdict.OK, found=version)
    is_needed = floor.extra is None or are_workers_local
    found = "not installed" if version is None else f"{version}, but {floor.lowest} or later is required"
    return CheckResult(
        subject=floor.package,
        verdict=Verdict.MISSING if is_needed else Verdict.NOTE,
        found=found if is_needed else f"{found} to run engines on this machine",
        remedy=remedy if is_needed else None,
    )


def sqlite(version: str) -> CheckResult:
    """The SQLite that comes with apsw, which may be newer than the system's."""
    if is_at_least(version, OLDEST_SQLITE):
        return CheckResult(subject="SQLite", verdict=Verdict.OK, found=version)
    return CheckResult(
        subject="SQLite",
        verdict=Verdict.MISSING,
        found=f"{version}, but {OLDEST_SQLITE} or later is required",
        remedy=install_command(),
    )


def sd_embed(is_there: bool, version: str | None) -> CheckResult:
    """The parser of prompts in A1111 syntax: an optional package, or the server itself."""
    if is_there:
        found = f"{version or 'installed'}: engines on this machine use it for long_prompt_technique sd_embed"
    else:
        found = "not installed, not required: the server implements long_prompt_technique sd_embed itself"
    return CheckResult(subject="sd_embed", verdict=Verdict.OK, found=found)


def floors() -> tuple[Floor, ...]:
    """The requirements in setup.cfg, from the installed metadata or from this checkout."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        requirements = _of_checkout()
    found = [_floor(line) for line in requirements]
    return tuple(one for one in found if one.extra in (None, "worker"))


def is_at_least(version: str, lowest: str) -> bool:
    """Compares releases: 2.10 is later than 2.9, and 3 is as good as 3.0."""
    return _release(version) >= _release(lowest)


def _of_checkout() -> list[str]:
    setup = ConfigParser()
    setup.read(_SETUP, encoding="utf-8")
    always = setup.get("options", "install_requires", fallback="").split("\n")
    worker = setup.get("options.extras_require", "worker", fallback="").split("\n")
    marked = [f"{line}; extra == 'worker'" for line in worker if line.strip()]
    return [line.strip() for line in [*always, *marked] if line.strip()]


def _floor(requirement: str) -> Floor:
    match = _REQUIREMENT.match(requirement)
    assert match is not None, f"setup.cfg has a requirement without a name: {requirement}"
    return Floor(package=match[1], lowest=match[2] or "0", extra=match[3])


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _sqlite_version() -> str:
    import apsw

    return apsw.sqlite_lib_version()
