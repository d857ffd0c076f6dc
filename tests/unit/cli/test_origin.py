"""The command that adds sets to a copy fits the way in which it was installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from api.installation.diagnosis import Verdict
from api.installation.driver import Runtime, has_nvidia_driver
from api.installation.origin import CHECKOUT, Copy, package_sets, right_sets

CPU = ("worker", "cpu")
CUDA = ("worker", "cuda")


def copy_in(
    prefix: Path, *marks: str, checkout: Path | None = None, url: str | None = None, has_pip: bool = True
) -> Copy:
    """A copy in an environment with these files in its folder."""
    for mark in marks:
        (prefix / mark).touch()
    return Copy(checkout=checkout, url=url, version="1.2", prefix=prefix, has_pip=has_pip)


@pytest.fixture
def wheel(tmp_path: Path) -> str:
    """The address of a wheel that is there."""
    (tmp_path / "spoon 1.whl").touch()
    return (tmp_path / "spoon 1.whl").as_uri()


def test_a_checkout_is_upgraded_by_make(tmp_path: Path) -> None:
    own = copy_in(tmp_path / ".venv", checkout=tmp_path)
    assert own.command(CPU) == f"make -C {tmp_path} venv EXTRAS=cpu,worker"
    other = copy_in(tmp_path / "other", checkout=tmp_path)
    assert other.command(CPU) == f"make -C {tmp_path} venv VENV={tmp_path}/other EXTRAS=cpu,worker"


def test_a_wheel_is_installed_again_by_pip_with_its_extras(tmp_path: Path, wheel: str) -> None:
    command = copy_in(tmp_path, url=wheel).command(CUDA)
    assert command == f"{tmp_path}/bin/python -m pip install 'automatic-spoon[cuda,worker] @ {wheel}'"


def test_without_a_gpu_torch_and_only_torch_comes_from_pytorchs_index(tmp_path: Path, wheel: str) -> None:
    torch, rest = copy_in(tmp_path, url=wheel).command(CPU).split(" && ")
    assert "--no-deps --index-url https://download.pytorch.org/whl/cpu torch torchvision" in torch
    assert rest.endswith(f"pip install 'automatic-spoon[cpu,worker] @ {wheel}'")
    assert "index" not in rest


def test_pipx_and_uv_are_asked_in_their_own_ways(tmp_path: Path, wheel: str) -> None:
    package = f"'automatic-spoon[cuda,worker] @ {wheel}'"
    alone = copy_in(tmp_path, url=wheel, has_pip=False)
    python = f"{tmp_path}/bin/python"
    assert alone.command(CUDA) == f"uv pip install --python {python} --torch-backend=auto {package}"
    pipx = copy_in(tmp_path, "pipx_metadata.json", url=wheel)
    assert pipx.command(CUDA) == f"pipx runpip automatic-spoon install {package}"
    tool = copy_in(tmp_path, "uv-receipt.toml", url=wheel, has_pip=False)
    assert tool.command(CUDA) == f"uv tool install --force --torch-backend=auto {package}"


def test_files_of_our_own_are_written_anew_without_those_who_had_replaced_them(
    tmp_path: Path, wheel: str
) -> None:
    package = f"--no-deps 'automatic-spoon @ {wheel}'"
    python = f"{tmp_path}/bin/python"
    pip, uv = copy_in(tmp_path, url=wheel), copy_in(tmp_path, url=wheel, has_pip=False)
    assert pip.repair([]) == f"{python} -m pip install --force-reinstall {package}"
    assert pip.repair(["kernel"]) == f"{python} -m pip uninstall --yes kernel && {pip.repair([])}"
    assert uv.repair([]) == f"uv pip install --python {python} --reinstall {package}"
    assert uv.repair(["kernel"]) == f"uv pip uninstall --python {python} kernel && {uv.repair([])}"
    pipx = copy_in(tmp_path, "pipx_metadata.json", url=wheel, has_pip=False)
    assert pipx.repair([]) == f"pipx runpip automatic-spoon install --force-reinstall {package}"


def test_a_wheel_that_is_gone_is_asked_for(tmp_path: Path) -> None:
    gone = copy_in(tmp_path, url=(tmp_path / "gone.whl").as_uri()).command(CUDA)
    assert gone.endswith("-m pip install 'FILE.whl[cuda,worker]'")


def test_what_came_from_an_index_stays_at_its_version(tmp_path: Path) -> None:
    """pip then takes the installed copy, and nothing of that name from an index."""
    assert copy_in(tmp_path).command(CUDA).endswith("'automatic-spoon[cuda,worker]==1.2'")
    assert copy_in(tmp_path).command(()).endswith("pip install automatic-spoon==1.2")


def test_the_running_copy_is_this_checkout() -> None:
    assert Copy.running().command(CPU).startswith(f"make -C {CHECKOUT} venv ")


def test_a_machine_without_workers_needs_the_core_only() -> None:
    assert right_sets(are_workers_local=False, kind=Runtime.CUDA) == frozenset()
    assert right_sets(are_workers_local=True, kind=Runtime.CUDA) == {"worker", "cuda"}
    assert package_sets(False, Runtime.CPU, {}).found.startswith("the core for Python 3.")


def test_a_torch_for_cpus_beside_a_gpu_is_noted_and_one_for_gpus_is_fine_everywhere() -> None:
    idle = package_sets(True, Runtime.CUDA, {"torch": "2.14.1+cpu"})
    assert idle.verdict is Verdict.NOTE
    assert "torch 2.14.1+cpu does not use the GPU" in idle.found
    assert "cuda,worker" in (idle.remedy or "")
    for kind, version in ((Runtime.CUDA, "2.14.1+cu130"), (Runtime.CPU, "2.14.1+cu130"), (Runtime.CPU, None)):
        assert package_sets(True, kind, {"torch": version}).verdict is Verdict.OK


def test_a_library_that_is_absent_or_another_one_is_no_driver() -> None:
    assert not has_nvidia_driver("libno-such-library.so.1")
    assert not has_nvidia_driver("libc.so.6")


def test_the_driver_is_looked_for_with_the_standard_library_alone() -> None:
    """`make venv` does so before anything is installed."""
    code = "from api.installation.driver import runtime; print(runtime())"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() in set(Runtime)
