"""conf/constraints/ pins what setup.cfg asks for, no more and no less: otherwise run `make lock`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from conf.environments.sets import CONSTRAINTS, FIRST_WITHOUT_FACES, Pins
from tests.architecture.test_front_door import supported_pythons
from tests.architecture.test_requirements import floor_of, sets

HOLDS: Final = {
    Pins.CORE: {""},
    Pins.CPU: {"", "worker", "pose", "mcp", "cpu"},
    Pins.CUDA: {"", "worker", "pose", "mcp", "cuda"},
    Pins.DEV: set(sets()) - {"faces", "peers"},
    Pins.FACES: set(sets()) - {"peers"},
    Pins.LOWEST: {"", "test"},
}
"""The sets that each file pins."""
OURS: Final = "automatic-spoon (setup.cfg)"


@dataclass(frozen=True, slots=True)
class Pin:
    """A line of a file: one version, and who asks for it."""

    name: str
    version: Version
    requirement: Requirement
    via: tuple[str, ...]


def pins_in(text: str) -> Iterator[Pin]:
    for line in text.splitlines():
        pin, _, via = line.partition("  # via ")
        if not pin.startswith("#"):
            asked = Requirement(pin)
            (version,) = asked.specifier
            yield Pin(canonicalize_name(asked.name), Version(version.version), asked, tuple(via.split(", ")))


def pins_of(file: Pins) -> list[Pin]:
    return list(pins_in((CONSTRAINTS / file.file).read_text(encoding="utf-8")))


def pythons_of(file: Pins) -> list[str]:
    limit = FIRST_WITHOUT_FACES if file is Pins.FACES else (4,)
    return [one for one in supported_pythons() if tuple(map(int, one.split("."))) < limit]


def holds_for(asked: Requirement, python: str) -> bool:
    there = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    return asked.marker is None or asked.marker.evaluate(there)


def asked_by(names: set[str], python: str) -> list[Requirement]:
    """What some sets of setup.cfg ask for, without their references to each other."""
    found = [one for name in names for one in sets()[name] if holds_for(one, python)]
    return [one for one in found if canonicalize_name(one.name) != "automatic-spoon"]


def unmet(requirements: list[Requirement], pins: list[Pin], python: str) -> list[str]:
    """The requirements for which a Python has not exactly one pin, one that they allow."""
    found = []
    for asked in requirements:
        mine = [pin for pin in pins if pin.name == canonicalize_name(asked.name)]
        mine = [pin for pin in mine if holds_for(pin.requirement, python)]
        if len(mine) != 1 or mine[0].version not in asked.specifier:
            found.append(f"{asked}: {', '.join(str(pin.requirement) for pin in mine) or 'no pin'}")
    return found


def orphans(pins: list[Pin], declared: set[str]) -> set[str]:
    """The pins that nothing leads to from the declared names."""
    reached = {pin.name for pin in pins if OURS in pin.via and pin.name in declared}
    while (
        more := {pin.name for pin in pins if reached.intersection(map(canonicalize_name, pin.via))} - reached
    ):
        reached |= more
    return {pin.name for pin in pins} - reached


@pytest.mark.parametrize("file", Pins)
def test_every_requirement_has_one_pin_that_it_allows(file: Pins) -> None:
    pins = pins_of(file)
    assert {python: unmet(asked_by(HOLDS[file], python), pins, python) for python in pythons_of(file)} == {
        python: [] for python in pythons_of(file)
    }


@pytest.mark.parametrize("file", Pins)
def test_every_pin_is_there_for_a_requirement(file: Pins) -> None:
    declared = {canonicalize_name(one.name) for name in HOLDS[file] for one in sets()[name]}
    assert orphans(pins_of(file), declared) == set()


def test_pins_that_are_out_of_step_are_found() -> None:
    pins = list(pins_in(f"a==1.0  # via {OURS}\nb==2  # via a\nc==3  # via {OURS}\nd==4  # via c\n"))
    asked = [Requirement("a >= 1.1"), Requirement("b"), Requirement("e >= 5")]
    assert unmet(asked, pins, "3.11") == ["a>=1.1: a==1.0", "e>=5: no pin"]
    assert orphans(pins, {"a", "e"}) == {"c", "d"}


@pytest.mark.parametrize("file", [Pins.CORE, Pins.CPU, Pins.CUDA])
def test_the_sets_agree_with_what_the_tests_run_with(file: Pins) -> None:
    dev = {pin.requirement.name: pin.version for pin in pins_of(Pins.DEV)}
    assert {pin.name for pin in pins_of(file) if dev.get(pin.requirement.name) != pin.version} == set()


def test_faces_hold_back_what_mediapipe_asks_for_and_nothing_else() -> None:
    dev = {pin.name: pin for pin in pins_of(Pins.DEV)}
    held = {pin.name: pin for pin in pins_of(Pins.FACES) if pin.name in dev}
    older = {name for name, pin in held.items() if pin.version != dev[name].version}
    assert older == {"numpy", "opencv-python-headless", "protobuf"}
    assert all(held[name].version < dev[name].version for name in older)
    assert dev.keys() == held.keys()


def test_two_distributions_of_the_same_files_have_one_version() -> None:
    """The later one of two OpenCVs overwrites the other; a GPU changes nothing but the runtime."""
    faces = {pin.name: pin.version for pin in pins_of(Pins.FACES)}
    assert faces["opencv-contrib-python"] == faces["opencv-python-headless"]
    assert faces["onnxruntime"] == faces["onnxruntime-gpu"]


def test_the_cpu_has_no_package_of_cuda_and_one_onnxruntime() -> None:
    cpu, cuda = ({pin.name for pin in pins_of(file)} for file in (Pins.CPU, Pins.CUDA))
    theirs = {name for name in cuda if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
    assert cuda - cpu == theirs - {"nvidia-ml-py"} | {"onnxruntime-gpu"}
    assert cpu - cuda == {"onnxruntime"}


def test_the_lowest_pins_are_the_floors_of_the_core() -> None:
    floors = {canonicalize_name(one.name): floor_of(one.specifier) for one in sets()[""]}
    pins = {pin.name: pin.version for pin in pins_of(Pins.LOWEST)}
    off = {name: pins[name] for name, floor in floors.items() if _is_above(pins[name], floor)}
    assert off == {}


def _is_above(pin: Version, floor: Version | None) -> bool:
    """Apart from what a release adds at its end: 3.53.0.0 is the first of 3.53."""
    return floor is None or pin.release[: len(floor.release)] != floor.release
