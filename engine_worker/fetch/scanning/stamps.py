"""Recognizes files: a stamp tells whether one has changed since it was read, a mark whether it is a copy.

A stamp needs no file opened. A mark covers a file's header and samples of its content, so a model of
gigabytes takes milliseconds: enough to recognize a file that was moved, not a proof of equality as its sha256
is.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from io import FileIO
from struct import Struct
from typing import Final

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.safetensors_header import MAX_HEADER_BYTES
from kernel.protocol.version import VERSION

SAMPLE_BYTES: Final = 64 << 10
_STAMP_BYTES: Final = 8
_MARK_BYTES: Final = 16
_EVEN_SAMPLES: Final = 4
_PARTS: Final = (
    b'"model.diffusion_model.',
    b'"first_stage_model.decoder.',
    b'"cond_stage_model.',
    b'"conditioner.embedders.0.',
    b'"conditioner.embedders.1.',
)
"""Each part of a checkpoint is sampled: some checkpoints differ only in their VAE, a fiftieth of the file."""
_TENSOR: Final = re.compile(rb'"[^"]{1,1000}":\s*\{[^{}]{0,1000}?"data_offsets":\s*\[\s*(\d{1,18})')
_LENGTH: Final = Struct("<Q")


def stamp_of(path: str, facts: Iterable[tuple[str, os.stat_result]], problem: str = "") -> int:
    """A number of 63 bits, made of a path and of the size, time of change and inode of files, by name.

    Another version, which may judge files in another way, has other stamps, so it reads them all again.
    """
    digest = blake2b(os.fsencode(path), digest_size=_STAMP_BYTES, person=VERSION.encode()[:16])
    digest.update(problem.encode())
    for name, about in facts:
        digest.update(os.fsencode(f"\0{name}\0{about.st_size} {about.st_mtime_ns} {about.st_ino}"))
    return int.from_bytes(digest.digest()) >> 1


def mark_of(held: ModelFile) -> str:
    """The mark of a file: 32 hexadecimal digits. Raises: OSError."""
    size_bytes = held.size_bytes
    digest = blake2b(_LENGTH.pack(size_bytes), digest_size=_MARK_BYTES)
    with held.open() as file:
        beginning = _beginning(file, size_bytes)
        digest.update(beginning)
        for offset in sorted(set(_samples(beginning, size_bytes))):
            digest.update(os.pread(file.fileno(), SAMPLE_BYTES, offset))
    return digest.hexdigest()


def mark_of_files(files: Mapping[str, ModelFile]) -> str:
    """The mark of a folder, made of those of its files by name. Raises: OSError."""
    digest = blake2b(digest_size=_MARK_BYTES)
    for name, held in sorted(files.items()):
        digest.update(os.fsencode(f"{mark_of(held)}  {name}\n"))
    return digest.hexdigest()


def _beginning(file: FileIO, size_bytes: int) -> bytes:
    """The whole header of a safetensors file; the first bytes of another."""
    first = os.pread(file.fileno(), SAMPLE_BYTES, 0)
    if len(first) > _LENGTH.size and first[_LENGTH.size : _LENGTH.size + 1] == b"{":
        end: int = _LENGTH.unpack_from(first)[0] + _LENGTH.size
        if len(first) < end <= min(size_bytes, MAX_HEADER_BYTES):
            return first + os.pread(file.fileno(), end - len(first), len(first))
        return first[:end]
    return first


def _samples(beginning: bytes, size_bytes: int) -> Iterator[int]:
    """Offsets spread over what follows the beginning, to its end, and one in each part of a checkpoint."""
    start = len(beginning)
    room = size_bytes - start - SAMPLE_BYTES
    if room <= 0:
        yield start
        return
    for number in range(_EVEN_SAMPLES):
        yield start + room * number // (_EVEN_SAMPLES - 1)
    for part in _PARTS:
        place = beginning.find(part)
        found = None if place < 0 else _TENSOR.match(beginning, place)
        if found is not None:
            yield start + min(int(found[1]), room)
