"""Which sets are meant, and which pins they come with."""

import pytest

from api.installation.driver import Runtime
from conf.environments.sets import Pins, TwoRuntimes, UnknownSet, extras, pinned, pins_of, wanted


def test_workers_get_the_runtime_of_the_machine() -> None:
    assert wanted("worker", Runtime.CPU) == {"worker", "cpu"}
    assert wanted("worker, pose", Runtime.CUDA) == {"worker", "pose", "cuda"}
    assert wanted("", Runtime.CUDA) == wanted(" ,", Runtime.CUDA) == frozenset()


def test_a_runtime_that_is_named_is_taken() -> None:
    assert wanted("worker,cpu", Runtime.CUDA) == {"worker", "cpu"}


def test_two_runtimes_are_refused() -> None:
    with pytest.raises(TwoRuntimes, match="overwrite each other"):
        wanted("worker,cpu,cuda", Runtime.CPU)


def test_a_set_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(UnknownSet, match="no set gpu; there are cpu, cuda, "):
        wanted("worker,gpu", Runtime.CPU)


@pytest.mark.parametrize(
    ("sets", "python", "pins"),
    [
        ((), (3, 11), [Pins.CORE]),
        (("worker", "cuda"), (3, 11), [Pins.CUDA]),
        (("worker", "cpu", "pose"), (3, 13), [Pins.CPU, Pins.CUDA]),
        (("worker", "cpu", "dev"), (3, 11), [Pins.DEV]),
        (("worker", "cpu", "dev", "faces"), (3, 12), [Pins.FACES]),
        (("worker", "cpu", "dev", "faces"), (3, 13), [Pins.DEV]),
        (("worker", "cpu", "faces"), (3, 13), [Pins.CPU, Pins.CUDA]),
    ],
)
def test_sets_have_their_pins(sets: tuple[str, ...], python: tuple[int, int], pins: list[Pins]) -> None:
    assert list(pins_of(sets, python)) == pins


def test_pins_are_read_without_what_stands_behind_them() -> None:
    found = pinned(Pins.DEV)
    assert found["torch"].startswith("2.")
    assert found["librt"].replace(".", "").isdigit()
    assert len(found) > len(pinned(Pins.CORE)) > 10


def test_the_sets_are_those_of_setup_cfg() -> None:
    assert {"worker", "cpu", "cuda", "pose", "faces", "training", "test", "dev"} <= {*extras()}
