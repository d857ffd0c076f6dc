"""CLIP's vocabulary, from the package open_clip, which has it as a file.

Source: A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
"""

import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"
END_OF_WORD: Final = "</w>"
_FILE: Final = "bpe_simple_vocab_16e6.txt.gz"
_MERGES: Final = 49152 - 256 - 2
"""The vocabulary has 256 bytes, 256 bytes that end a word, the merges, and start and end of a text."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The number of each token, and which two are joined to one, the first ones first."""

    numbers: dict[str, int]
    merges: list[tuple[str, str]]


def read_vocabulary() -> Vocabulary | None:
    """Read the file; None, if the package is not installed."""
    path = _path()
    if path is None:
        return None
    with gzip.open(path, "rt", encoding="utf-8") as file:
        file.readline()  # the version
        lines = [file.readline().split() for _ in range(_MERGES)]
    merges = [(first, second) for first, second in lines]
    letters = _byte_letters()
    words = [*letters, *(letter + END_OF_WORD for letter in letters)]
    words += [first + second for first, second in merges]
    words += [START, END]
    return Vocabulary({word: number for number, word in enumerate(words)}, merges)


def _path() -> Path | None:
    # The package is located but not imported, because it would import torchvision and more.
    spec = find_spec("open_clip")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    return None


def _byte_letters() -> list[str]:
    """A printable character for each byte: itself if it is printable, else the next one from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = len(set(range(0x100)) - set(printable))
    return [chr(code) for code in (*printable, *range(0x100, 0x100 + hidden))]
