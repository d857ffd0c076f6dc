"""The sdist and the wheel, as a distributor makes and installs them."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from kernel.protocol.version import VERSION

ROOT: Final = Path(__file__).parents[2]
NAME: Final = f"automatic_spoon-{VERSION}"
PACKAGES: Final = ("api", "conf", "engine_worker", "kernel")
MADE: Final = {"PKG-INFO"}
"""By setuptools; what is in its own folder is made as well."""

JUNK: Final = ("kernel/__pycache__/old.cpython-311.pyc", "tests/acceptance/typescript/node_modules/a.js")
"""What lies beside the files of a repository that is worked in."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True)
class Built:
    """The two files of a release, and what pip and setuptools said while they made them."""

    sdist: Path
    wheel: Path
    output: str


def ran(*command: str | Path, cwd: Path, **environ: str) -> str:
    """The output of a command, errors included, which must end well."""
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def tracked() -> set[str]:
    """The files of the repository. Skips the test outside of one, as in an unpacked sdist."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the git repository")
    return set(ran("git", "-c", "core.quotePath=off", "ls-files", cwd=ROOT).splitlines())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist of the repository's files, and the wheel that is built from it, without any index."""
    folder = tmp_path_factory.mktemp("packages")
    tree = folder / "tree"
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    for junk in JUNK:
        (tree / junk).parent.mkdir(parents=True)
        (tree / junk).touch()
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    first = ran(sys.executable, "-P", "-c", code, cwd=tree)
    sdist = folder / f"{NAME}.tar.gz"
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir")
    second = ran(sys.executable, "-m", "pip", "wheel", "-v", *offline, "-w", folder, sdist, cwd=folder)
    return Built(sdist, folder / f"{NAME}-py3-none-any.whl", first + second)


def test_the_sdist_has_every_file_of_the_repository(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {one.name.removeprefix(f"{NAME}/") for one in archive.getmembers() if one.isfile()}
    assert {name for name in names if not name.startswith("automatic_spoon.egg-info/")} - MADE == tracked()


def test_the_wheel_has_every_file_of_the_packages_and_no_other(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(f"{NAME}.dist-info/")}
    assert names == {name for name in tracked() if name.startswith(tuple(f"{one}/" for one in PACKAGES))}


def test_setuptools_warns_of_nothing(built: Built) -> None:
    assert "running sdist" in built.output
    assert "running install_lib" in built.output
    signs = ("Package would be ignored", "no files found", "deprecated")
    assert [sign for sign in signs if sign in built.output] == []


def test_the_command_runs_from_the_wheel(built: Built, tmp_path: Path) -> None:
    place = tmp_path / "installed"
    install = ("install", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir")
    ran(sys.executable, "-m", "pip", *install, "--target", place, built.wheel, cwd=tmp_path)
    here = {"PYTHONPATH": str(place)}

    assert VERSION in ran(place / "bin" / "spoon", "--version", cwd=tmp_path, **here)
    assert "Usage: spoon" in ran(place / "bin" / "spoon", "--help", cwd=tmp_path, **here)
    code = "import kernel.shell.store as it; print(it.__file__, len(it.migrations()))"
    file, migrations = ran(sys.executable, "-P", "-c", code, cwd=tmp_path, **here).split()
    assert Path(file).is_relative_to(place)
    assert int(migrations) == len(list((ROOT / "kernel/shell/migrations").glob("*.sql")))
