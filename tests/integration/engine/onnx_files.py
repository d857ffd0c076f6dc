"""Background removers of a few operators, written as ONNX files for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from kernel.protocol.enums import ModelType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource

Sides = Sequence[int | str]
ANY: Sides = ("batch", 3, "height", "width")


def remover_source(path: Path, name: str | None = None) -> ModelSource:
    """The model of that file, as a job's order names it."""
    return ModelSource(
        model_id=ModelId(f"id-of-{path.stem}"),
        name=name or path.stem,
        uri=path.as_uri(),
        model_type=ModelType.BACKGROUND,
    )


def write_keeper(
    path: Path,
    channel: int,
    *,
    shape: Sides = ANY,
    metadata: Mapping[str, str] | None = None,
    gain: float = 1.0,
    is_half: bool = False,
) -> Path:
    """A model that keeps what is above its mean in one channel: as 0 and 1, or as logits of that gain."""
    dtype = TensorProto.FLOAT16 if is_half else TensorProto.FLOAT
    steps = [
        helper.make_node("Gather", ["input", "channel"], ["plane"], axis=1),
        helper.make_node("Greater", ["plane", "zero"], ["above"]),
        helper.make_node("Cast", ["above"], ["kept"], to=dtype),
    ]
    if gain != 1.0:
        steps.append(helper.make_node("Sub", ["kept", "half"], ["centred"]))
        steps.append(helper.make_node("Mul", ["centred", "gain"], ["mask"]))
    else:
        steps.append(helper.make_node("Identity", ["kept"], ["mask"]))
    constants = [
        helper.make_tensor("channel", TensorProto.INT64, [1], [channel]),
        helper.make_tensor("zero", dtype, [], [0.0]),
        helper.make_tensor("half", dtype, [], [0.5]),
        helper.make_tensor("gain", dtype, [], [gain]),
    ]
    return write_model(path, steps, constants, shape=shape, dtype=dtype, metadata=metadata or {})


def write_model(
    path: Path,
    steps: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    *,
    shape: Sides = ANY,
    dtype: int = TensorProto.FLOAT,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A model from `input` to `mask`."""
    graph = helper.make_graph(
        list(steps),
        "remover",
        [helper.make_tensor_value_info("input", dtype, list(shape))],
        [helper.make_tensor_value_info("mask", dtype, None)],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, str(path))
    return path
