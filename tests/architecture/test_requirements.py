"""What the packages import is declared in setup.cfg, with floors that can be installed."""

import ast
import sys
from collections.abc import Collection, Iterator
from configparser import ConfigParser
from importlib import metadata
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.architecture.source_files import ROOT

SETS_OF: Final = {
    "kernel": {"", "ray"},
    "api": {"", "mcp"},
    "conf": {""},
    "engine_worker": {"", "worker", "cuda", "cpu", "pose", "faces"},
}
"""The sets that each package may import from; that without a name is what every process needs."""
NOT_INSTALLED: Final = {
    "training": {"", "worker", "cuda", "cpu", "training"},
    "bench": {"", "worker", "cuda", "cpu", "pose", "dev"},
}
"""The same of folders that are in no wheel."""
OPTIONAL: Final = {"sd_embed", "tokenizers"}
"""Used if it is there: if somebody has installed it (docs/prompts.md), or, tokenizers, with transformers."""
OURS: Final = "automatic-spoon"
"""By this name one set asks for another."""
OF_ONE_RELEASE: Final = {("torchvision", "torch")}
"""Each torchvision asks for the torch it was built for; an older torch brings an older torchvision."""


def setup() -> ConfigParser:
    found = ConfigParser()
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


def requirements(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def sets() -> dict[str, list[Requirement]]:
    """The requirements of every set by its name; that of the core is empty."""
    file = setup()
    extras = {name: requirements(text) for name, text in file["options.extras_require"].items()}
    return {"": requirements(file["options"]["install_requires"]), **extras}


def declared() -> Iterator[Requirement]:
    return (one for each in sets().values() for one in each if one.name != OURS)


def floor_of(specifiers: SpecifierSet) -> Version | None:
    return max((Version(one.version) for one in specifiers if one.operator in (">=", "~=")), default=None)


def floors() -> dict[str, Version]:
    """The highest floor of each declared name."""
    found: dict[str, Version] = {}
    for one in declared():
        name = canonicalize_name(one.name)
        found[name] = max(floor_of(one.specifier) or Version("0"), found.get(name, Version("0")))
    return found


def modules_of(tree: ast.AST) -> Iterator[str]:
    """The top-level names of absolute imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0]


def foreign_imports(package: str) -> dict[str, str]:
    """Every module of others that a package imports, with a file that does."""
    paths = [path for path in sorted((ROOT / package).rglob("*.py")) if "node_modules" not in path.parts]
    ours = {*SETS_OF, *NOT_INSTALLED, "tests", *OPTIONAL, *sys.stdlib_module_names}
    return {
        module: str(path.relative_to(ROOT))
        for path in paths
        for module in modules_of(ast.parse(path.read_text(encoding="utf-8")))
        if module not in ours
    }


def undeclared(package: str, without: Collection[str] = ()) -> dict[str, str]:
    """The imports that no set of the package provides, as if `without` were declared nowhere.

    A module that is not installed is taken for a distribution of its own name.
    """
    providers = metadata.packages_distributions()
    of = SETS_OF | NOT_INSTALLED
    names = {canonicalize_name(one.name) for each in of[package] for one in sets()[each]} - {*without}
    return {
        module: path
        for module, path in foreign_imports(package).items()
        if not names & {canonicalize_name(name) for name in providers.get(module, [module])}
    }


@pytest.mark.parametrize("package", SETS_OF | NOT_INSTALLED)
def test_every_import_is_of_a_declared_requirement(package: str) -> None:
    assert undeclared(package) == {}


def test_an_import_that_is_not_declared_is_found() -> None:
    assert undeclared("kernel", without={"nvidia-ml-py"}) == {"pynvml": "kernel/shell/devices/nvidia.py"}


def test_every_requirement_has_a_floor() -> None:
    assert [str(one) for one in declared() if floor_of(one.specifier) is None] == []


def test_no_floor_is_below_what_the_other_requirements_ask_for() -> None:
    """A floor that the pinned set rules out is one that nobody has tried."""
    low, found = floors(), []
    for name in low:
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of a set that is not installed
            continue
        for asked in map(Requirement, lines):
            needed, of = floor_of(asked.specifier), canonicalize_name(asked.name)
            is_asked = asked.marker is None or asked.marker.evaluate({"extra": ""})
            if of in low and needed and is_asked and (name, of) not in OF_ONE_RELEASE and low[of] < needed:
                found.append(f"{name} asks for {asked}")
    assert found == []


@pytest.mark.parametrize(
    ("name", "version", "why"),
    [
        ("click", "8.5.0", "its types are not generic, so that `spoon` does not start"),
        ("torch", "2.10", "PYSEC-2026-139"),
        ("httpcore", "1.0.8", "it allows h11 0.14, whose GHSA-vqfr-h8mv-ghfj lets a site smuggle answers"),
        ("certifi", "2024.6.2", "it trusts a certificate authority that was withdrawn (CVE-2024-39689)"),
        ("msgspec", "0.21.1", "it refuses types such as Literal[False]"),
        ("diffusers", "0.41", "it cannot be installed with huggingface_hub 2"),
        ("transformers", "5.17", "it cannot be installed with huggingface_hub 2"),
    ],
)
def test_a_version_that_cannot_be_used_is_below_its_floor(name: str, version: str, why: str) -> None:
    assert Version(version) < floors()[name], why


@pytest.mark.parametrize("package", SETS_OF)
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
