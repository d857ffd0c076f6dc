"""How a background remover wants its pictures: from its metadata, its input, its name, in this order."""

import pytest

from engine_worker.engine.background.input_format import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    InputFormat,
    Size,
    find_input_format,
)
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import Preparation

HALF, ONE = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "size", "mean", "deviation"),
    [
        ("u2net", (320, 320), IMAGENET_MEAN, IMAGENET_DEVIATION),
        ("U2-Net human", (320, 320), IMAGENET_MEAN, IMAGENET_DEVIATION),
        ("silueta", (320, 320), IMAGENET_MEAN, IMAGENET_DEVIATION),
        ("isnet-general-use", (1024, 1024), HALF, ONE),
        ("IS-Net", (1024, 1024), HALF, ONE),
        ("isnet-anime", (1024, 1024), IMAGENET_MEAN, ONE),
        ("RMBG-1.4", (1024, 1024), HALF, ONE),
        ("RMBG-2.0", (1024, 1024), IMAGENET_MEAN, IMAGENET_DEVIATION),
        ("BiRefNet-general-lite", (1024, 1024), IMAGENET_MEAN, IMAGENET_DEVIATION),
        ("my own", None, IMAGENET_MEAN, IMAGENET_DEVIATION),
    ],
)
def test_a_known_family_is_known_by_its_name(
    name: str, size: Size | None, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> None:
    assert find_input_format({}, None, ("cutter", name)) == InputFormat(size, mean, deviation)  # type: ignore[arg-type]


def test_a_fixed_input_counts_more_than_the_name() -> None:
    assert find_input_format({}, (512, 384), ("u2net",)).size == (512, 384)


def test_metadata_count_most() -> None:
    metadata = {"input_size": "[640, 480]", "mean": "0.5", "std": "[0.1, 0.2, 0.3]"}
    assert find_input_format(metadata, None, ("u2net",)) == InputFormat((640, 480), HALF, (0.1, 0.2, 0.3))


def test_metadata_may_speak_as_transformers_does() -> None:
    metadata = {
        "size": '{"height": 480, "width": 640}',
        "image_mean": "[0.5, 0.5, 0.5]",
        "image_std": "[1, 1, 1]",
    }
    assert find_input_format(metadata, None, ()) == InputFormat((640, 480), HALF, ONE)


def test_other_metadata_mean_nothing() -> None:
    assert find_input_format({"author": "[", "task": "matting"}, None, ()).mean == IMAGENET_MEAN


@pytest.mark.parametrize(
    "metadata",
    [
        {"mean": "grey"},
        {"mean": "[0.5, 0.5]"},
        {"mean": "[123.7, 116.3, 103.5]"},
        {"mean": "NaN"},
        {"mean": "[null, 1, 1]"},
        {"std": "0"},
        {"input_size": "0"},
        {"input_size": "1e9"},
        {"input_size": '{"side": 3}'},
        {"input_size": "[" * 100_000},
    ],
    ids=str,
)
def test_metadata_that_cannot_be_meant_are_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(ModelUnreadable, match="metadata"):
        find_input_format(metadata, None, ())


def test_metadata_that_contradict_the_input_are_refused() -> None:
    with pytest.raises(ModelUnreadable, match="but its input is fixed at"):
        find_input_format({"input_size": "320"}, (1024, 1024), ())


def test_what_its_owner_said_counts_more_than_the_metadata_and_the_name() -> None:
    metadata = {"input_size": "[64, 64]", "mean": "0.1", "std": "0.1"}
    said = Preparation(input_size=(640, 480), mean=HALF, std=ONE)
    assert find_input_format(metadata, None, ("u2net",), said) == InputFormat((640, 480), HALF, ONE)
    assert find_input_format(metadata, None, (), Preparation(mean=HALF)) == InputFormat(
        (64, 64), HALF, (0.1, 0.1, 0.1)
    )


def test_a_size_that_its_owner_said_and_its_input_contradicts_is_refused() -> None:
    with pytest.raises(ModelUnreadable, match="its registration sets"):
        find_input_format({}, (1024, 1024), (), Preparation(input_size=(320, 320)))
