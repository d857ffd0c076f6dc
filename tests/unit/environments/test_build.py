"""What `make venv` has pip do, and when it does nothing."""

from pathlib import Path

import pytest

from conf.environments.build import STAMP, Installed, Plan, build, digest, index_for
from conf.environments.sets import Pins, pinned

INDEX = "https://index.invalid/whl/cpu"
WORKER = frozenset({"worker", "cpu"})
TORCH = pinned(Pins.CPU)["torch"]
VISION = pinned(Pins.CPU)["torchvision"]


def commands(
    sets: frozenset[str], index: str | None = None, pins: tuple[Pins, ...] = (Pins.CPU,), **there: str
) -> list[list[str]]:
    return list(
        Plan(sets, pins, index, {name.replace("_", "-"): held for name, held in there.items()}).commands()
    )


def test_a_stamp_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = Installed(WORKER, "abc")
    written.write(tmp_path)
    assert Installed.read(tmp_path) == written
    Installed(frozenset(), "abc").write(tmp_path)
    assert Installed.read(tmp_path) == Installed(frozenset(), "abc")


@pytest.mark.parametrize("text", [None, "", "something else"])
def test_an_environment_without_a_stamp_has_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / STAMP).write_text(text)
    assert Installed.read(tmp_path) == Installed()
    assert not Installed.read(tmp_path).has(frozenset(), "abc")


def test_more_sets_or_other_versions_are_installed_and_fewer_sets_are_there_already() -> None:
    there = Installed(WORKER, "abc")
    assert there.has(WORKER, "abc")
    assert there.has(frozenset(), "abc")
    assert not there.has(WORKER | {"pose"}, "abc")
    assert not there.has(WORKER, "abd")


def test_an_upgrade_keeps_the_sets_that_are_there_but_the_other_runtime() -> None:
    there = Installed(WORKER | {"dev"}, "abc")
    assert there.with_sets(frozenset({"pose"})) == {"worker", "cpu", "dev", "pose"}
    assert there.with_sets(frozenset({"worker", "cuda"})) == {"worker", "cuda", "dev"}


def test_torch_for_cpus_comes_first_from_its_index_and_nothing_else_does() -> None:
    torch, rest = commands(WORKER, INDEX)
    assert torch[:5] == ["install", "--no-compile", "--no-deps", "--index-url", INDEX]
    assert torch[5:] == [f"torch=={TORCH}+cpu", f"torchvision=={VISION}+cpu"]
    assert INDEX not in rest
    assert rest[-2:] == ["-e", ".[cpu,worker]"]


def test_without_the_index_everything_comes_from_the_ordinary_one() -> None:
    (only,) = commands(WORKER, None, (Pins.CPU, Pins.CUDA))
    assert [Path(word).name for word in only[2:6]] == ["-c", "cpu.txt", "-c", "cuda.txt"]
    assert commands(frozenset(), None, (Pins.CORE,))[0][-1] == "."


def test_another_onnxruntime_goes_with_the_files_that_both_have() -> None:
    first, _ = commands(WORKER, onnxruntime_gpu="1.31.1", numpy="2.3.5")
    assert first == ["uninstall", "--yes", "onnxruntime-gpu"]
    first, _ = commands(frozenset({"worker", "cuda"}), onnxruntime="1.31.1", onnxruntime_gpu="1.31.1")
    assert first == ["uninstall", "--yes", "onnxruntime", "onnxruntime-gpu"]
    assert len(commands(WORKER, onnxruntime="1.31.1")) == 1


def test_a_torch_for_cpus_goes_where_a_gpu_has_come_and_any_torch_stays_where_none_is() -> None:
    first, _ = commands(frozenset({"worker", "cuda"}), torch=f"{TORCH}+cpu", torchvision=f"{VISION}+cpu")
    assert first == ["uninstall", "--yes", "torch", "torchvision"]
    assert len(commands(frozenset({"worker", "cuda"}), torch=TORCH)) == 1
    assert len(commands(WORKER, torch=TORCH)) == 1


def test_the_size_that_is_named_has_cuda_only_without_the_index() -> None:
    small, large = (Plan(WORKER, (Pins.CPU,), index, {}).size_gb for index in (INDEX, None))
    assert 1 < small < 3 < 5 < large < 8
    assert Plan(WORKER, (Pins.CPU,), None, {"torch": f"{TORCH}+cpu"}).size_gb == small
    assert Plan(frozenset(), (Pins.CORE,), None, {}).size_gb < 0.5


def test_an_environment_that_has_the_sets_is_left_alone(tmp_path: Path) -> None:
    Installed(WORKER, digest()).write(tmp_path)
    build(tmp_path, "", INDEX)
    build(tmp_path, "worker,cpu", INDEX)
    assert [path.name for path in tmp_path.iterdir()] == [STAMP]


def test_an_index_that_does_not_answer_is_told_with_what_it_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = (tmp_path / "cpu").as_uri()
    assert index_for(WORKER, [Pins.CPU], absent, {}) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{absent} cannot be reached (")
    assert line.endswith("): torch comes with CUDA, 4.5 GB more on disk")


@pytest.mark.parametrize(
    ("sets", "index", "there"),
    [
        (frozenset({"worker", "cuda"}), "file:///nowhere", {}),
        (frozenset(), "file:///nowhere", {}),
        (WORKER, "", {}),
        (WORKER, "file:///nowhere", {"torch": TORCH}),
        (WORKER, "file:///nowhere", {"torch": f"{TORCH}+cpu"}),
    ],
)
def test_the_index_is_asked_only_where_torch_has_to_come_from_it(
    sets: frozenset[str], index: str, there: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert index_for(sets, [Pins.CPU], index, there) is None
    assert capsys.readouterr().out == ""
