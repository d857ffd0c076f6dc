"""The header of a .safetensors file: every tensor's name, type and shape, read without the tensors.

Source: https://github.com/huggingface/safetensors#format
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kernel.protocol.errors import ModelUnreadable

_LENGTH_BYTES = 8
# The format's own limit for a header.
_MAX_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of the file; the offsets count bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        begin, end = self.data_offsets
        return end - begin


@dataclass(frozen=True, slots=True)
class Header:
    """What one file holds."""

    path: Path
    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read the header of a .safetensors file and check that the file holds all that it announces.

    Raises: ModelUnreadable, if the file is no safetensors file or is cut short.
    """
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if not 2 <= header_bytes <= min(_MAX_HEADER_BYTES, size_bytes - _LENGTH_BYTES):
                raise ModelUnreadable(f"{path.name} is not a safetensors file, or it is cut short")
            text = file.read(header_bytes)
    except OSError as error:
        raise ModelUnreadable(f"{path.name} cannot be read: {error.strerror or error}") from error
    header = _decode(path, text)
    _check_length(header, size_bytes - _LENGTH_BYTES - header_bytes)
    return header


def _decode(path: Path, text: bytes) -> Header:
    try:
        parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(parts.pop(_METADATA, msgspec.Raw(b"{}")), type=dict[str, str] | None)
        tensors = {name: msgspec.json.decode(part, type=Entry) for name, part in parts.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelUnreadable(f"{path.name} is not a safetensors file: {error}") from error
    return Header(path, tensors, metadata or {})


def _check_length(header: Header, data_bytes: int) -> None:
    announced = max((entry.data_offsets[1] for entry in header.tensors.values()), default=0)
    if announced > data_bytes:
        raise ModelUnreadable(
            f"{header.path.name} is cut short: it announces {announced} bytes and holds {data_bytes}"
        )
