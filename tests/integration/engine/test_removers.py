"""Background removers from ONNX files: what they see, what they cut, and what they say when they cannot."""

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from onnx import helper
from onnx_files import remover_source, write_keeper, write_model

from engine_worker.engine.background.apply_matte import Removers, cut_out, is_nothing_left
from engine_worker.engine.background.remover import Remover
from engine_worker.engine.images.output_file import Pixels
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import Preparation

pytestmark = pytest.mark.torch

RED, GREEN, BLUE = 0, 1, 2
WHITE = (255, 255, 255)


def disc(side: int = 64) -> tuple[Pixels, np.ndarray]:
    """A red disc on blue, and where it is."""
    rows, columns = np.mgrid[:side, :side]
    inside = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 4) ** 2
    return np.where(inside[:, :, None], (250, 10, 20), (10, 20, 240)).astype(np.uint8), inside


def loaded(path: Path, name: str | None = None) -> Remover:
    return Removers(torch.device("cpu")).load(remover_source(path, name))


def test_a_disc_is_cut_out_exactly(tmp_path: Path) -> None:
    pixels, inside = disc()
    cut = cut_out(pixels, [loaded(write_keeper(tmp_path / "reds.onnx", RED))], WHITE)
    assert np.array_equal(cut[:, :, 3], np.where(inside, 255, 0))
    assert np.array_equal(cut[inside][:, :3], pixels[inside])


def test_what_was_removed_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    pixels, inside = disc()
    cut = cut_out(pixels, [loaded(write_keeper(tmp_path / "reds.onnx", RED))], WHITE)
    assert not cut[~inside].any()


def test_logits_and_half_precision_give_the_same_mask(tmp_path: Path) -> None:
    pixels, inside = disc()
    for remover in (
        loaded(write_keeper(tmp_path / "logits.onnx", RED, gain=40.0)),
        loaded(write_keeper(tmp_path / "half.onnx", RED, is_half=True)),
    ):
        assert np.array_equal(remover.mask(pixels), inside.astype(np.float32))


def test_a_model_of_one_size_sees_every_picture_in_it(tmp_path: Path) -> None:
    pixels, inside = disc(96)
    remover = loaded(write_keeper(tmp_path / "fixed.onnx", RED, shape=(1, 3, 64, 64)))
    mask = remover.mask(pixels)
    assert mask.shape == (96, 96)
    assert (np.abs(mask - inside) > 0.9).mean() < 0.01


def test_a_picture_of_an_odd_size_is_cut_in_its_size(tmp_path: Path) -> None:
    pixels = disc(96)[0][:70, :83]
    assert loaded(write_keeper(tmp_path / "any.onnx", RED)).mask(pixels).shape == (70, 83)


def test_mean_and_deviation_come_from_the_metadata(tmp_path: Path) -> None:
    """The model keeps what lies above its mean: with a mean of 1 nothing does."""
    pixels, _ = disc()
    metadata = {"mean": "1.0", "std": "1.0"}
    none = loaded(write_keeper(tmp_path / "none.onnx", RED, metadata=metadata))
    assert not none.mask(pixels).any()
    assert is_nothing_left(cut_out(pixels, [none], WHITE))


def test_mean_and_deviation_come_from_what_its_owner_said(tmp_path: Path) -> None:
    pixels, _ = disc()
    path = write_keeper(tmp_path / "none.onnx", RED, metadata={"mean": "0.0", "std": "1.0"})
    source = replace(remover_source(path), preparation=Preparation(mean=(1.0, 1.0, 1.0)))
    assert not Removers(torch.device("cpu")).load(source).mask(pixels).any()


def test_several_removers_see_what_those_before_them_left(tmp_path: Path) -> None:
    """Reds leave the left half. Blues would keep the right one, but it is white by then, and so is kept by
    them, without coming back."""
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[:, :32] = (250, 0, 250)
    pixels[:32, 32:] = (0, 0, 250)
    reds = loaded(write_keeper(tmp_path / "reds.onnx", RED))
    greens = loaded(write_keeper(tmp_path / "greens.onnx", GREEN))
    left = np.zeros((64, 64), dtype=np.uint8)
    left[:, :32] = 255
    assert np.array_equal(cut_out(pixels, [reds], WHITE)[:, :, 3], left)
    assert not cut_out(pixels, [reds, greens], WHITE)[:, :, 3].any()
    green_seen: list[Pixels] = []

    class Watching(Remover):
        def __init__(self) -> None:
            """Needs no model."""

        def mask(self, pixels: Pixels) -> np.ndarray:
            green_seen.append(pixels)
            return np.ones(pixels.shape[:2], dtype=np.float32)

    assert np.array_equal(cut_out(pixels, [reds, Watching()], (1, 2, 3))[:, :, 3], left)
    assert np.array_equal(green_seen[0][:, :32], pixels[:, :32])
    assert (green_seen[0][:, 32:] == (1, 2, 3)).all()


def test_a_mask_that_sees_nothing_is_not_stretched_to_noise(tmp_path: Path) -> None:
    faint = [
        helper.make_node("ReduceMax", ["input"], ["bright"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["bright", "little"], ["mask"]),
    ]
    constants = [helper.make_tensor("little", 1, [], [0.01])]
    mask = loaded(write_model(tmp_path / "faint.onnx", faint, constants)).mask(disc()[0])
    assert mask.max() < 0.1


def test_a_remover_stays_loaded_and_the_third_replaces_the_first(tmp_path: Path) -> None:
    removers = Removers(torch.device("cpu"))
    sources = [remover_source(write_keeper(tmp_path / f"{name}.onnx", RED)) for name in ("a", "b", "c")]
    first = removers.load(sources[0])
    assert removers.load(sources[0]) is first
    assert not first.is_on_gpu
    for source in sources[1:]:
        removers.load(source)
    assert removers.load(sources[0]) is not first


@pytest.mark.parametrize("data", [b"", b"no model", bytes(1000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_model_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(
        ModelUnreadable, match=r"(cannot load model as an ONNX model|model cannot be used as a)"
    ):
        loaded(path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = write_keeper(tmp_path / "model.onnx", RED)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelUnreadable, match="cannot load model as an ONNX model"):
        loaded(path)


@pytest.mark.parametrize("shape", [(1, 4, 64, 64), (1, 64, 64, 3), (3, 64, 64)], ids=str)
def test_a_model_that_takes_no_pictures_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    steps = [helper.make_node("Identity", ["input"], ["mask"])]
    with pytest.raises(ModelUnreadable, match="model cannot be used as a background remover: it"):
        loaded(write_model(tmp_path / "model.onnx", steps, [], shape=shape))


def test_a_model_that_gives_no_mask_is_refused_at_its_first_picture(tmp_path: Path) -> None:
    steps = [helper.make_node("Identity", ["input"], ["mask"])]
    with pytest.raises(
        ModelUnreadable, match=r"model returned a tensor of shape \(1, 3, 64, 64\) instead of one mask"
    ):
        loaded(write_model(tmp_path / "model.onnx", steps, [])).mask(disc()[0])


def test_a_model_that_fails_at_a_picture_says_so(tmp_path: Path) -> None:
    steps = [helper.make_node("Reshape", ["input", "shape"], ["mask"])]
    constants = [helper.make_tensor("shape", 7, [2], [5, 7])]
    with pytest.raises(ModelUnreadable, match=r"^model fails: "):
        loaded(write_model(tmp_path / "model.onnx", steps, constants)).mask(disc()[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_a_remover_runs_there_and_gives_the_same_mask(tmp_path: Path) -> None:
    pixels, inside = disc()
    source = remover_source(write_keeper(tmp_path / "reds.onnx", RED))
    remover = Removers(torch.device("cuda:0")).load(source)
    assert remover.is_on_gpu
    assert np.array_equal(remover.mask(pixels), inside.astype(np.float32))
