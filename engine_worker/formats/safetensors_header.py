"""Reads and checks the header of a .safetensors file: names, types and shapes of all tensors.

Source: https://github.com/huggingface/safetensors#format
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BufferedReader, FileIO
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import Final

import msgspec

from engine_worker.formats.allowed_paths import ModelFile, opened
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.type_info import analyzed

MAX_HEADER_BYTES: Final = 32 << 20
"""The largest known headers, of LoRAs with all their training tags, have 2 MB."""
MAX_TENSORS: Final = 100_000
"""SDXL in one file has 2,515; a LoRA of every layer about 3,000."""
MAX_NAME_LENGTH: Final = 1_000
MAX_DIMENSIONS: Final = 8

DTYPE_BYTES: Final = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
    "C64": 8,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2FNUZ": 1,
}

_BYTE: Final = 8
_QUANTIZED: Final = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8}
"""Types of quantized models, whose numbers make sense only together with scales."""
_BITS: Final = {**{dtype: _BYTE * size for dtype, size in DTYPE_BYTES.items()}, **_QUANTIZED}

_LENGTH: Final = Struct("<Q")
_INCOMPLETE: Final = "wait until it is copied, or get it again"
_METADATA: Final = "__metadata__"


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One tensor of the file; the offsets are bytes after the header. A header has thousands of them, which
    can be in no cycle, so the garbage collector need not look at them."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        begin, end = self.data_offsets
        return end - begin

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """The content of one file."""

    path: Path
    """The file's name, for messages."""
    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]
    file: ModelFile | None = None
    """The file to read tensors from; None if there is none."""
    warnings: tuple[str, ...] = ()

    def open(self) -> FileIO:
        """Open the file that the header was read from. Raises: ModelUnreadable; OSError."""
        return opened(self.file or self.path).open()


def read_header(source: Path | ModelFile) -> Header:
    """Read the header of a .safetensors file, and check that it describes the bytes after it.

    Bytes behind the last tensor are a warning: some tools pad their files.

    Raises: ModelUnreadable, if the file is not safetensors, is truncated, or contradicts itself.
    """
    held = opened(source)
    path = held.path
    try:
        with BufferedReader(held.open()) as file:
            size_bytes = held.size_bytes
            text = file.read(_header_bytes(path, file.read(_LENGTH.size), size_bytes))
    except OSError as error:
        raise ModelUnreadable(f"{path.name} cannot be read: {error.strerror or error}") from error
    header = replace(_decode(path, text), file=held)
    extra = _check(header, size_bytes - _LENGTH.size - len(text))
    if extra:
        header = replace(header, warnings=(f"{path.name} has {extra} bytes behind its last tensor",))
    return header


def _header_bytes(path: Path, length: bytes, size_bytes: int) -> int:
    if len(length) < _LENGTH.size:
        raise ModelUnreadable(f"{path.name} is empty or truncated: {_INCOMPLETE}")
    announced: int = _LENGTH.unpack(length)[0]
    if not announced:
        raise ModelUnreadable(f"{path.name} begins with zeros: {_INCOMPLETE}")
    if announced > MAX_HEADER_BYTES:
        raise ModelUnreadable(f"{path.name} is not a safetensors file: its header is too long")
    if announced > size_bytes - _LENGTH.size:
        raise ModelUnreadable(f"{path.name} is not a safetensors file, or it is truncated: {_INCOMPLETE}")
    return announced


def _decode(path: Path, text: bytes) -> Header:
    try:
        parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        said = msgspec.json.decode(parts.pop(_METADATA, msgspec.Raw(b"{}")), type=dict[str, object] | None)
        if len(parts) > MAX_TENSORS:
            raise ModelUnreadable(f"{path.name} has too many tensors ({len(parts)})")
        entry = msgspec.json.Decoder(analyzed(Entry))
        tensors = {name: entry.decode(part) for name, part in parts.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelUnreadable(f"{path.name} is not a safetensors file: its header is invalid") from error
    # The format allows texts only, but some tools write numbers.
    metadata = {key: value for key, value in (said or {}).items() if isinstance(value, str)}
    return Header(path, tensors, metadata)


def _check(header: Header, data_bytes: int) -> int:
    """The format requires that the tensors cover the file without gaps and overlaps.

    Returns: the number of bytes behind them.
    """
    for name, entry in header.tensors.items():
        if entry.dtype not in _BITS:
            raise ModelUnreadable(
                f"{header.path.name} has numbers of an unknown type {entry.dtype!r:.40}: it is quantized, or "
                "newer than this server"
            )
        if not _is_sound(name, entry):
            raise ModelUnreadable(f"{header.path.name} is damaged: one tensor's size contradicts its shape")
    spans = sorted(entry.data_offsets for entry in header.tensors.values())
    edges = [(0, 0), *spans]
    if any(before[1] != after[0] for before, after in pairwise(edges)):
        raise ModelUnreadable(f"{header.path.name} is damaged: its tensors overlap or leave gaps")
    announced = edges[-1][1]
    if announced > data_bytes:
        missing = f"{announced - data_bytes} bytes are missing"
        raise ModelUnreadable(f"{header.path.name} is truncated, {missing}: {_INCOMPLETE}")
    return data_bytes - announced


def _is_sound(name: str, entry: Entry) -> bool:
    shape, (begin, end) = entry.shape, entry.data_offsets
    if len(name) > MAX_NAME_LENGTH or len(shape) > MAX_DIMENSIONS or (shape and min(shape) < 0):
        return False
    return (end - begin) * _BYTE == math.prod(shape) * _BITS[entry.dtype]
