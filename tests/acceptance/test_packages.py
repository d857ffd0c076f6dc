"""The sdist and the wheel, as a distributor makes and installs them."""

import json
import os
import re
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
from tests.acceptance.fresh_life import live

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


@pytest.fixture(scope="module")
def environment(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own, with the wheel, and with the dependencies of the one that runs the tests."""
    folder = tmp_path_factory.mktemp("installed")
    ran(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("-packages")]
    (packages / "others.pth").write_text("\n".join(others), encoding="utf-8")
    pip(folder, "install", built.wheel)
    return folder


def pip(environment: Path, command: str, *words: str | Path) -> None:
    """Run pip of the tests for another environment."""
    options = (
        ("--no-index", "--no-deps", "--no-compile", "--no-cache-dir") if command == "install" else ("--yes",)
    )
    python = environment / "bin/python"
    ran(sys.executable, "-m", "pip", "--python", python, command, *options, *words, cwd=environment)


def test_the_command_runs_from_the_wheel(environment: Path) -> None:
    spoon = environment / "bin/spoon"
    assert VERSION in ran(spoon, "--version", cwd=environment)
    assert "Usage: spoon" in ran(spoon, "--help", cwd=environment)
    code = "import kernel.shell.store as it; print(it.__file__, len(it.migrations()))"
    file, migrations = ran(environment / "bin/python", "-P", "-c", code, cwd=environment).split()
    assert Path(file).is_relative_to(environment)
    assert int(migrations) == len(list((ROOT / "kernel/shell/migrations").glob("*.sql")))


@pytest.mark.exhaustive
def test_the_doctor_finds_what_another_package_has_overwritten_and_its_command_mends_it(
    environment: Path, built: Built, tmp_path: Path
) -> None:
    spoon = environment / "bin/spoon"
    pip(environment, "install", write_rival(tmp_path))
    found = own_files(spoon, tmp_path)
    assert found["verdict"] == "missing"
    assert found["found"].startswith("kernel/__init__.py is also a file of kernel 9.9")
    remedy = re.fullmatch(
        r"(\S+ -m pip) uninstall --yes kernel && \1 install --force-reinstall --no-deps '(.*)'",
        found["remedy"],
    )
    assert remedy is not None
    assert built.wheel.as_uri() in remedy[2]
    pip(environment, "uninstall", "kernel")
    pip(environment, "install", "--force-reinstall", built.wheel)
    assert own_files(spoon, tmp_path)["verdict"] == "ok"


def own_files(spoon: Path, folder: Path) -> dict[str, str]:
    """What the doctor of an installation says of its files."""
    ended = subprocess.run([spoon, "doctor", "--json"], cwd=folder, capture_output=True, check=False)
    assert ended.stdout, ended.stderr
    (found,) = (one for one in json.loads(ended.stdout) if one["subject"] == "own files")
    return found


def write_rival(folder: Path) -> Path:
    """A wheel of somebody else with a package of the same name."""
    info = "kernel-9.9.dist-info"
    files = {
        "kernel/__init__.py": "THEIRS = True\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: kernel\nVersion: 9.9\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    wheel = folder / "kernel-9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


@pytest.mark.torch
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    "FRESH_ACCOUNT" not in os.environ, reason="takes a minute of two processors: FRESH_ACCOUNT=1"
)
def test_a_new_user_installs_it_draws_upgrades_goes_back_and_removes_it(built: Built) -> None:
    live(built.wheel, print)


@pytest.fixture(scope="module")
def uv() -> str:
    """The installer uv. Skips the test without it, and where it reaches no package index."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which("uv", path=path)
    if found is None:
        pytest.skip("uv is not installed: it is in the extra dev")
    command = [
        found,
        "pip",
        "install",
        "--dry-run",
        "--python",
        sys.executable,
        "--reinstall",
        "--no-deps",
        "click",
    ]
    probe = subprocess.run(command, capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no package index can be reached: {probe.stderr.strip()}")
    return found


@pytest.mark.parametrize("installer", ["uv", "pipx"])
def test_installers_of_commands_install_the_wheel_and_remove_it(
    uv: str, installer: str, built: Built, tmp_path: Path
) -> None:
    command = [uv, "tool"] if installer == "uv" else [uv, "tool", "run", "pipx"]
    names = ("UV_TOOL_DIR", "UV_TOOL_BIN_DIR", "UV_CACHE_DIR", "PIPX_HOME", "PIPX_BIN_DIR", "PIPX_MAN_DIR")
    places = {name: str(tmp_path / name) for name in names}
    spoon = tmp_path / ("UV_TOOL_BIN_DIR" if installer == "uv" else "PIPX_BIN_DIR") / "spoon"

    ran(*command, "install", "--python", sys.executable, built.wheel, cwd=tmp_path, **places)

    assert VERSION in ran(spoon, "--version", cwd=tmp_path)
    assert own_files(spoon, tmp_path)["verdict"] == "ok"
    ran(*command, "uninstall", "automatic-spoon", cwd=tmp_path, **places)
    assert not spoon.exists()
