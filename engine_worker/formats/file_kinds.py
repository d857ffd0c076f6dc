"""The format of a file: by the suffix of an owner's own file, by the first bytes of a received one."""

from enum import Enum, auto
from pathlib import Path
from struct import Struct
from typing import Final

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.safetensors_header import MAX_HEADER_BYTES
from kernel.protocol.errors import ModelUnreadable

PICKLES: Final = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})
SAFETENSORS: Final = frozenset({".safetensors", ".sft"})
ONNX: Final = ".onnx"
_FIRST_BYTES: Final = 512
_LENGTH: Final = Struct("<Q")
_ONNX_BEGINNING: Final = 0x08
"""The tag of `ir_version`, the first field of every ONNX file."""
_ZIP: Final = b"PK\x03\x04"
"""The format of torch.save."""
_OLD_PICKLE: Final = b"\x80"
_STRANGERS: Final = {
    b"<": "a web page",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"version https://git-lfs": "a Git LFS pointer",
    b"{": "JSON",
    b"\x89PNG": "an image",
    b"\xff\xd8": "an image",
}


class FileKind(Enum):
    """The formats of weights."""

    SAFETENSORS = auto()
    ONNX = auto()
    PICKLE = auto()


def kind_by_name(path: Path) -> FileKind:
    """The format by a file's suffix.

    Raises: ModelUnreadable, if it is not supported.
    """
    ending = path.suffix.lower()
    if ending in PICKLES:
        return FileKind.PICKLE
    if ending == ONNX:
        return FileKind.ONNX
    if ending == ".gguf":
        raise ModelUnreadable(f"{path.name} is a GGUF file, which is quantized: use a .safetensors file")
    if ending not in SAFETENSORS:
        raise ModelUnreadable(f"{path.name} is neither a .safetensors file nor a diffusers folder")
    return FileKind.SAFETENSORS


def kind_by_content(held: ModelFile) -> FileKind:
    """The format by a file's first bytes, whatever its name.

    Raises: ModelUnreadable, if it is not supported; OSError.
    """
    with held.open() as file:
        first = file.read(_FIRST_BYTES)
    if len(first) > _LENGTH.size and first[8:9] == b"{" and _LENGTH.unpack(first[:8])[0] <= MAX_HEADER_BYTES:
        return FileKind.SAFETENSORS
    if first.startswith((_ZIP, _OLD_PICKLE)):
        return FileKind.PICKLE
    what = _stranger(first)
    if what is not None:
        raise ModelUnreadable(f"this is {what}, not a model file")
    if first and first[0] == _ONNX_BEGINNING:
        return FileKind.ONNX
    raise ModelUnreadable("this is not a model file: it is neither safetensors nor ONNX")


def stranger_in(held: ModelFile) -> str | None:
    """The words for what a file is by its first bytes, if it is surely none of the formats of weights that
    are used as they are. Raises: OSError."""
    with held.open() as file:
        first = file.read(_FIRST_BYTES)
    if first[_LENGTH.size : _LENGTH.size + 1] == b"{":
        return None
    return "a pickle" if first.startswith((_ZIP, _OLD_PICKLE)) else _stranger(first)


def _stranger(first: bytes) -> str | None:
    found = (what for beginning, what in _STRANGERS.items() if first.lstrip().startswith(beginning))
    return next(found, None)
