"""Reads the inputs, outputs and weight sizes of an ONNX file, and rejects references to other files.

No part of it is executed. Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from math import prod
from pathlib import Path
from typing import Final

from engine_worker.formats.allowed_paths import ModelFile, opened
from engine_worker.formats.onnx_wire import Field, Message, Wire
from engine_worker.formats.safetensors_header import Entry
from kernel.protocol.errors import ModelUnreadable

MAX_NODES: Final = 200_000
MAX_TENSORS: Final = 100_000
MAX_DEPTH: Final = 16
"""Of nested graphs, which loops and branches have."""
MAX_DIMENSIONS: Final = 32
_MAX_DIMENSION: Final = 1 << 40


class _InModel(IntEnum):
    GRAPH = 7
    FUNCTION = 25


class _InGraph(IntEnum):
    NODE = 1
    INITIALIZER = 5
    INPUT = 11
    OUTPUT = 12
    SPARSE_INITIALIZER = 15


class _InTensor(IntEnum):
    DIMS = 1
    DATA_TYPE = 2
    NAME = 8
    EXTERNAL_DATA = 13
    DATA_LOCATION = 14


_NODE_ATTRIBUTE: Final = 5
_FUNCTION_NODE: Final = 7
_ATTRIBUTE_TENSORS: Final = (5, 10)
_ATTRIBUTE_GRAPHS: Final = (6, 11)
_ATTRIBUTE_SPARSE: Final = (22, 23)
_SPARSE_PARTS: Final = (1, 2)
_VALUE_NAME: Final = 1
_VALUE_TYPE: Final = 2
_TYPE_TENSOR: Final = 1
_TENSOR_SHAPE: Final = 2
_SHAPE_DIM: Final = 1
_DIM_VALUE: Final = 1
_ELEMENT_TYPE: Final = 1
_FLOATS: Final = (1, 10)
"""float32 and float16."""
_IN_ANOTHER_FILE = 1

_DTYPES: Final = {
    1: ("F32", 4, 32),
    10: ("F16", 2, 8),
    16: ("BF16", 2, 8),
    11: ("F64", 8, 64),
    6: ("I32", 4, 8),
    7: ("I64", 8, 8),
}
"""Name, bytes per number, and the fewest bits that store one: integers and halves may be varints."""
_SMALL: Final = ("I8", 1, 2)
"""The smallest numbers have 2 bits, four to a byte."""


@dataclass(frozen=True, slots=True)
class Place:
    """An input or output. A size that the file leaves open is None."""

    name: str
    shape: tuple[int | None, ...]
    is_float: bool = True
    """False for a type of numbers that no image is given in."""


@dataclass(slots=True)
class OnnxModel:
    """The content of a file. Inputs that are weights with a default are left out."""

    inputs: list[Place] = field(default_factory=list)
    outputs: list[Place] = field(default_factory=list)
    weights: list[Entry] = field(default_factory=list)
    weight_names: set[str] = field(default_factory=set)
    least_bits: int = 0
    """The least number of bits that the weights take in the file."""
    nodes: int = 0


def read_onnx(source: Path | ModelFile) -> OnnxModel:
    """Read the content of an ONNX file.

    Raises: ModelUnreadable, if it is not one, is damaged, exceeds a limit, or refers to other files.
    """
    held = opened(source)
    try:
        with held.open() as file:
            size_bytes = held.size_bytes
            found = _read(Message(file.fileno(), 0, size_bytes))
    except OSError as error:
        raise ModelUnreadable(f"{held.name} cannot be read: {error.strerror or error}") from error
    if found.least_bits > size_bytes * 8:
        raise ModelUnreadable("this ONNX file is damaged: its tensors claim more bytes than it has")
    return found


def _read(whole: Message) -> OnnxModel:
    found = OnnxModel()
    graphs = 0
    for part in whole.fields():
        if part.number == _InModel.GRAPH:
            graphs += 1
            _read_graph(_inner(whole, part), found, 0)
        elif part.number == _InModel.FUNCTION:
            _read_function(_inner(whole, part), found)
    if graphs != 1 or not found.nodes:
        raise ModelUnreadable("this is not an ONNX file: it has no graph")
    found.inputs = [place for place in found.inputs if place.name not in found.weight_names]
    return found


def _read_graph(graph: Message, found: OnnxModel, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ModelUnreadable("this ONNX file is nested too deeply")
    for part in graph.fields():
        match part.number:
            case _InGraph.NODE:
                _read_node(_inner(graph, part), found, depth)
            case _InGraph.INITIALIZER:
                _read_tensor(_inner(graph, part), found)
            case _InGraph.SPARSE_INITIALIZER:
                _read_sparse(_inner(graph, part), found)
            case _InGraph.INPUT | _InGraph.OUTPUT if depth == 0:
                places = found.inputs if part.number == _InGraph.INPUT else found.outputs
                places.append(_read_place(_inner(graph, part)))
                if len(places) > MAX_TENSORS:
                    raise ModelUnreadable("this ONNX file has too many inputs")


def _read_function(function: Message, found: OnnxModel) -> None:
    for part in function.fields():
        if part.number == _FUNCTION_NODE:
            _read_node(_inner(function, part), found, 0)


def _read_node(node: Message, found: OnnxModel, depth: int) -> None:
    found.nodes += 1
    if found.nodes > MAX_NODES:
        raise ModelUnreadable("this ONNX file has too many nodes")
    for part in node.fields():
        if part.number == _NODE_ATTRIBUTE:
            _read_attribute(_inner(node, part), found, depth)


def _read_attribute(attribute: Message, found: OnnxModel, depth: int) -> None:
    for part in attribute.fields():
        if part.number in _ATTRIBUTE_TENSORS:
            _read_tensor(_inner(attribute, part), found)
        elif part.number in _ATTRIBUTE_GRAPHS:
            _read_graph(_inner(attribute, part), found, depth + 1)
        elif part.number in _ATTRIBUTE_SPARSE:
            _read_sparse(_inner(attribute, part), found)


def _read_sparse(sparse: Message, found: OnnxModel) -> None:
    for part in sparse.fields():
        if part.number in _SPARSE_PARTS:
            _read_tensor(_inner(sparse, part), found)


def _read_tensor(tensor: Message, found: OnnxModel) -> None:
    shape: list[int] = []
    kind = 0
    for part in tensor.fields():
        match part.number:
            case _InTensor.DIMS:
                shape += tensor.numbers(part)
            case _InTensor.DATA_TYPE:
                kind = part.value
            case _InTensor.NAME:
                found.weight_names.add(tensor.text(part))
            case _InTensor.EXTERNAL_DATA:
                raise _external()
            case _InTensor.DATA_LOCATION if part.value == _IN_ANOTHER_FILE:
                raise _external()
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= size < _MAX_DIMENSION for size in shape):
        raise ModelUnreadable("this ONNX file is damaged: one tensor has an impossible shape")
    if len(found.weights) >= MAX_TENSORS:
        raise ModelUnreadable("this ONNX file has too many tensors")
    dtype, size_bytes, least_bits = _DTYPES.get(kind, _SMALL)
    found.least_bits += prod(shape) * least_bits
    found.weights.append(Entry(dtype=dtype, shape=tuple(shape), data_offsets=(0, prod(shape) * size_bytes)))


def _read_place(value: Message) -> Place:
    name, shape, is_float = "", tuple[int | None, ...](), True
    for part in value.fields():
        if part.number == _VALUE_NAME:
            name = value.text(part)
        elif part.number == _VALUE_TYPE:
            inner = _inner(value, part)
            for kind in inner.fields():
                if kind.number == _TYPE_TENSOR:
                    tensor = _inner(inner, kind)
                    shape, is_float = _read_shape(tensor), _is_float(tensor)
    return Place(name, shape, is_float)


def _is_float(tensor: Message) -> bool:
    kinds = (part for part in tensor.fields() if part.number == _ELEMENT_TYPE and part.wire is Wire.VARINT)
    return all(part.value in _FLOATS for part in kinds)


def _read_shape(tensor: Message) -> tuple[int | None, ...]:
    found: list[int | None] = []
    for part in tensor.fields():
        if part.number == _TENSOR_SHAPE:
            shape = _inner(tensor, part)
            found += [_size(_inner(shape, one)) for one in shape.fields() if one.number == _SHAPE_DIM]
    if len(found) > MAX_DIMENSIONS:
        raise ModelUnreadable("this ONNX file is damaged: one input has an impossible shape")
    return tuple(found)


def _size(dimension: Message) -> int | None:
    sizes: Iterator[int] = (
        part.value for part in dimension.fields() if part.number == _DIM_VALUE and part.wire is Wire.VARINT
    )
    size = next(sizes, 0)
    return size if 0 < size < _MAX_DIMENSION else None


def _inner(message: Message, part: Field) -> Message:
    if part.wire is not Wire.BYTES:
        raise ModelUnreadable("this is not an ONNX file, or it is damaged")
    return message.inner(part)


def _external() -> ModelUnreadable:
    return ModelUnreadable(
        "this ONNX file keeps its weights in external files, which are not supported: save it as one file"
    )
