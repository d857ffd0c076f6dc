"""ONNX files: what is found in them by their headers, and what is refused."""

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from onnx import TensorProto, helper

from engine_worker.formats.onnx_model import read_onnx
from kernel.protocol.enums import ModelType, Variant
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.model_refs import Preparation
from tests.unit.worker.test_inspection import look_at, refused, source_of

Size = int | str | None


def remover(
    shape: Sequence[Size] = (1, 3, 320, 320),
    dtype: int = TensorProto.FLOAT,
    returned: Sequence[Size] | None = None,
) -> onnx.ModelProto:
    """A small network that takes a picture and gives a mask, of the picture's size by default."""
    given = [1, 1, *shape[2:]] if returned is None else list(returned)
    weights = helper.make_tensor("weights", dtype, [1, 3, 1, 1], [1.0, 1.0, 1.0])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["picture", "weights"], ["mask"])],
        "remover",
        [
            helper.make_tensor_value_info("picture", dtype, list(shape)),
            helper.make_tensor_value_info("weights", dtype, [1, 3, 1, 1]),
        ],
        [helper.make_tensor_value_info("mask", dtype, given)],
        [weights],
    )
    return helper.make_model(graph)


def written(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.DOUBLE, TensorProto.INT8])
def test_a_background_remover_that_takes_no_floats_is_refused(tmp_path: Path, dtype: int) -> None:
    path = written(tmp_path, remover(dtype=dtype))
    assert "takes no floats" in refused(source_of(path, ModelType.BACKGROUND), tmp_path)


@pytest.mark.parametrize(
    ("shape", "size_px"),
    [
        ((1, 3, 320, 320), 320),
        ((1, 3, 1024, 1024), 1024),
        ((None, 3, "height", "width"), None),
        ((1, 3, 320, 480), None),
    ],
)
def test_a_background_remover_is_found_out(
    tmp_path: Path, shape: Sequence[Size], size_px: int | None
) -> None:
    found = look_at(written(tmp_path, remover(shape)), ModelType.BACKGROUND)
    assert (found.model_type, found.native_size_px) == (ModelType.BACKGROUND, size_px)
    assert (found.parameters, found.memory_bytes, found.variant) == (3, 12, Variant.FP32)


@pytest.mark.parametrize(
    ("name", "is_restricted"),
    [
        ("briaai/RMBG-1.4/onnx/model.onnx", True),
        ("rmbg_v2.0.onnx", True),
        ("rmbg.onnx", True),
        ("RMBG/BiRefNet.onnx", False),
        ("u2net.onnx", False),
    ],
)
def test_weights_that_are_not_free_for_commerce_say_so(
    tmp_path: Path, name: str, is_restricted: bool
) -> None:
    """A folder RMBG, as ComfyUI's extension has it, holds other weights as well."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    warnings = look_at(written(tmp_path, remover()).rename(path), ModelType.BACKGROUND).warnings
    assert ["non-commercial use only" in text for text in warnings] == [True] * is_restricted


def test_a_size_that_the_file_contradicts_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, remover())
    source = source_of(path, ModelType.BACKGROUND)
    wrong = replace(source, preparation=Preparation(input_size=(1024, 1024)))
    assert "input size is 320 x 320 pixels, not 1024 x 1024" in refused(wrong, tmp_path)


def test_half_precision_is_told(tmp_path: Path) -> None:
    found = look_at(written(tmp_path, remover(dtype=TensorProto.FLOAT16)), ModelType.BACKGROUND)
    assert (found.variant, found.memory_bytes) == (Variant.FP16, 6)


def test_an_onnx_file_is_no_checkpoint(tmp_path: Path) -> None:
    assert "type background" in refused(source_of(written(tmp_path, remover())), tmp_path)


@pytest.mark.parametrize("shape", [(1, 4, 64, 64), (1, 77), (1, 3, 8, 8, 8)])
def test_what_takes_no_picture_is_no_background_remover(tmp_path: Path, shape: Sequence[Size]) -> None:
    source = source_of(written(tmp_path, remover(shape)), ModelType.BACKGROUND)
    assert "not a background remover" in refused(source, tmp_path)


@pytest.mark.parametrize("returned", [(1, 512), (None, 512), (1, 8400, 85), (1, 3, 640, 640), (1, 133), (9,)])
def test_what_returns_no_mask_is_no_background_remover(tmp_path: Path, returned: Sequence[Size]) -> None:
    source = source_of(written(tmp_path, remover(returned=returned)), ModelType.BACKGROUND)
    assert "it is not a background remover" in refused(source, tmp_path)


@pytest.mark.parametrize(
    "returned", [(1, 1, 160, 160), ("n", 1, "h", "w"), (1, 320, 320), (320, 320), ("h", "w")]
)
def test_a_mask_may_have_another_size_or_fewer_dimensions(tmp_path: Path, returned: Sequence[Size]) -> None:
    path = written(tmp_path, remover(returned=returned))
    assert look_at(path, ModelType.BACKGROUND).model_type is ModelType.BACKGROUND


def external(tensor: onnx.TensorProto) -> None:
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"


def test_weights_in_other_files_are_never_opened(tmp_path: Path) -> None:
    model = remover()
    external(model.graph.initializer[0])
    assert "in external files" in refused(source_of(written(tmp_path, model), ModelType.BACKGROUND), tmp_path)


def test_weights_in_other_files_are_found_however_deep_they_hide(tmp_path: Path) -> None:
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [1.0])
    external(hidden)
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=hidden)], "inner", [], [])
    model = remover()
    model.graph.node.append(
        helper.make_node("If", ["condition"], ["out"], then_branch=inner, else_branch=inner)
    )
    assert "in external files" in refused(source_of(written(tmp_path, model), ModelType.BACKGROUND), tmp_path)


def test_graphs_inside_of_graphs_have_an_end(tmp_path: Path) -> None:
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "innermost", [], [])
    for _ in range(30):
        graph = helper.make_graph([helper.make_node("Loop", [], [], body=graph)], "outer", [], [])
    path = written(tmp_path, helper.make_model(graph))
    with pytest.raises(ModelUnreadable, match="nested"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        (TensorProto.FLOAT, (1 << 39, 1 << 39, 4)),
        (TensorProto.FLOAT, (1000,)),
        (TensorProto.INT8, (1 << 31, 1 << 32)),
        (TensorProto.FLOAT16, ((1 << 40) - 1,) * 32),
    ],
)
def test_tensors_that_claim_more_than_the_file_has_are_refused(
    tmp_path: Path, dtype: int, shape: tuple[int, ...]
) -> None:
    model = remover()
    model.graph.initializer.append(TensorProto(name="huge", data_type=dtype, dims=shape))
    source = source_of(written(tmp_path, model), ModelType.BACKGROUND)
    assert "claim more bytes than it has" in refused(source, tmp_path)


def test_tensors_that_claim_too_much_only_together_are_refused(tmp_path: Path) -> None:
    model = remover()
    for number in range(40):
        tensor = TensorProto(name=str(number), data_type=TensorProto.FLOAT, dims=(40,))
        model.graph.initializer.append(tensor)
    with pytest.raises(ModelUnreadable, match="claim more bytes"):
        read_onnx(written(tmp_path, model))


@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.FLOAT16, TensorProto.INT4])
def test_numbers_that_are_written_shorter_than_they_are_held_claim_nothing_too_much(
    tmp_path: Path, dtype: int
) -> None:
    model = remover()
    model.graph.initializer.append(helper.make_tensor("zeros", dtype, [4000], [0] * 4000))
    assert read_onnx(written(tmp_path, model)).weights[-1].shape == (4000,)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_short_is_told(tmp_path: Path, share: float) -> None:
    path = written(tmp_path, remover())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelUnreadable):
        read_onnx(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x07",
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x3a" + b"\xff" * 11,
        b"\x00\x00",
        b"\x0b\x0c",
        b"\x38\x01",
        b"\x3a\x02\x2a\x7f",
    ],
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelUnreadable):
        read_onnx(path)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=5))
def test_damage_of_any_kind_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, bytes]]
) -> None:
    data = bytearray(remover().SerializeToString())
    for place, noise in cuts:
        data[place % len(data) : place % len(data) + len(noise)] = noise
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(bytes(data))
    try:
        found = read_onnx(path)
    except ModelUnreadable:
        return
    assert all(entry.parameters >= 0 for entry in found.weights)
