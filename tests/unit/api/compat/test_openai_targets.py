"""What `model` may name, and the size of images that are made from another one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.compat.openai.targets import find_target, public_names, refused, size_like, usual_size
from kernel.protocol.errors import ModelMissing, ModelNotFound, ModelNotReady, of_field, wrong_field
from kernel.views.rows import JobTarget


def engine(id: str, name: str | None = None, side_px: int | None = 512) -> JobTarget:  # noqa: A002
    return JobTarget(id, name, 1, 1_000, side_px, side_px)


def checkpoint(id: str, name: str, side_px: int | None = 512) -> JobTarget:  # noqa: A002
    return JobTarget(id, name, 0, 2_000, side_px, side_px)


def test_names_are_of_engines_first_and_mean_one_thing_each() -> None:
    targets = [
        engine("e1", "studio"),
        engine("e2"),
        engine("e3", "dreams"),
        checkpoint("m1", "dreams"),
        checkpoint("m2", "real"),
        checkpoint("m3", "real"),
    ]
    names = public_names(targets)
    assert [name for name, _ in names] == ["studio", "dreams", "real", "m3"]
    assert all(find_target(targets, name) is target for name, target in names)


def test_every_id_is_found() -> None:
    targets = [engine("e2"), checkpoint("m1", "dreams")]
    assert [find_target(targets, one.id) for one in targets] == targets
    assert find_target(targets, "dall-e-3") is None


def test_an_unknown_model_is_not_found_and_those_are_listed_that_would_be() -> None:
    targets = [engine("e1", "studio"), checkpoint("m1", "dreams")]
    error = refused(of_field(ModelMissing, "checkpoint", "unknown"), "dall-e-3", targets)
    assert isinstance(error, ModelNotFound)
    assert error.detail == "model: no engine or checkpoint is called 'dall-e-3': use one of studio, dreams"
    error = refused(of_field(ModelMissing, "checkpoint", "unknown"), "dall-e-3", [])
    assert error.detail.endswith(": none is there yet")


def test_long_lists_are_cut() -> None:
    targets = [checkpoint(f"m{n}", f"model {n}") for n in range(12)]
    error = refused(wrong_field("checkpoint", "is required"), None, targets)
    assert error.detail.endswith("model 9, ...")
    assert error.detail.startswith("model: is required")


def test_other_refusals_keep_their_kind_and_those_of_other_fields_their_name() -> None:
    not_ready = of_field(ModelNotReady, "checkpoint", "is downloading")
    assert refused(not_ready, "dreams", []).detail == "model: is downloading"
    assert isinstance(refused(not_ready, "dreams", []), ModelNotReady)
    steps = wrong_field("steps", "too many")
    assert refused(steps, "dreams", []) is steps
    default = wrong_field("engine", "is required: engines.default is 'x', but there is no such engine")
    assert refused(default, None, []).detail == f"model: {default.fields[0].problem}"
    nothing = refused(of_field(ModelMissing, "checkpoint", "none is registered"), None, [])
    assert (type(nothing), nothing.detail) == (ModelMissing, "model: none is registered")


def test_the_usual_size_is_that_of_the_target_or_of_all() -> None:
    small, large = engine("e1", side_px=512), engine("e2", side_px=1024)
    assert usual_size([small, large], large) == (1024, 1024)
    assert usual_size([small, small], None) == (512, 512)
    assert usual_size([small, large], None) is None
    assert usual_size([engine("e3", side_px=None)], None) is None


@pytest.mark.parametrize(
    ("image", "size"),
    [((512, 512), (512, 512)), ((1000, 700), (608, 432)), ((64, 64), (512, 512)), ((4000, 3000), (592, 440))],
)
def test_an_image_gives_its_aspect_ratio_and_the_model_the_pixels(
    image: tuple[int, int], size: tuple[int, int]
) -> None:
    assert size_like(image, (512, 512), 2048 * 2048) == size


@given(
    st.tuples(st.integers(16, 8_192), st.integers(16, 8_192)),
    st.integers(8, 128),
    st.integers(4_096, 1 << 22),
)
def test_every_image_gives_a_size_that_a_job_may_have(
    image: tuple[int, int], usual: int, max_pixels: int
) -> None:
    width, height = size_like(image, (8 * usual, 8 * usual), max_pixels)
    assert width % 8 == height % 8 == 0
    assert 64 <= width <= 8_192
    assert 64 <= height <= 8_192
    assert width * height <= max_pixels
