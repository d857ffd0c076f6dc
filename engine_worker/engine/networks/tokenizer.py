"""The CLIP tokenizer, from a diffusers folder or the vocabulary in the open_clip package."""

import gzip
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec
from transformers import CLIPTokenizer

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.checkpoint_layout import TokenizerPlan
from engine_worker.formats.tokenizer_files import CONFIGS, known_options
from kernel.protocol.errors import ModelUnreadable, NotInstalled

_VOCABULARY_FILE = "bpe_simple_vocab_16e6.txt.gz"
# CLIP's vocabulary: 256 bytes, 256 bytes that end a word, the merges, and start and end of a text
# (A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021).
_MERGES = 49152 - 256 - 2
_END_OF_WORD = "</w>"
_START, _END = "<|startoftext|>", "<|endoftext|>"


class Tokenizer(Protocol):
    """The part of CLIPTokenizer that prompts need."""

    bos_token_id: int
    eos_token_id: int
    pad_token_id: int

    def encode(self, text: str, *, verbose: bool) -> list[int]:
        """The prompt's tokens with start and end, of any number."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of some tokens."""

    def convert_ids_to_tokens(self, ids: int) -> str:
        """The spelling of a token in the vocabulary; `</w>` marks the end of a word."""


def make_tokenizer(plan: TokenizerPlan) -> Tokenizer:
    """Make the tokenizer of a checkpoint's layout. It may be shared: change only a copy of it.

    Raises: ModelUnreadable, if its folder contains none; NotInstalled, if open_clip is not installed.
    """
    if plan.files is None:
        tokenizer: Tokenizer = _from_vocabulary(plan.pad_token)
        return tokenizer
    return _from_files(plan.files)


def _from_files(files: Mapping[str, ModelFile]) -> Tokenizer:
    """transformers reads files by name, so the opened files get symbolic links, and configurations without
    the options that were not checked are written anew."""
    with TemporaryDirectory(prefix="spoon-tokenizer-") as name:
        for called, held in files.items():
            if called in CONFIGS:
                Path(name, called).write_bytes(msgspec.json.encode(known_options(held)))
            else:
                Path(name, called).symlink_to(held.place)
        try:
            tokenizer: Tokenizer = CLIPTokenizer.from_pretrained(name, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnreadable(f"the checkpoint's folder has no CLIP tokenizer: {error}") from error
    return tokenizer


@cache
def _from_vocabulary(pad_token: str) -> Tokenizer:
    """Cached per process: a standby worker makes the first one before it knows its engine."""
    merges = _read_merges()
    letters = _byte_letters()
    words = [*letters, *(letter + _END_OF_WORD for letter in letters)]
    words += [first + second for first, second in merges]
    words += [_START, _END]
    tokenizer: Tokenizer = CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=merges,
        pad_token=pad_token,
        model_max_length=77,
    )
    return tokenizer


def _read_merges() -> list[tuple[str, str]]:
    with gzip.open(_vocabulary_path(), "rt", encoding="utf-8") as file:
        file.readline()  # the version
        lines = [file.readline().split() for _ in range(_MERGES)]
    return [(first, second) for first, second in lines]


def _vocabulary_path() -> Path:
    # The package is located but not imported, because it would import torchvision and more.
    spec = find_spec("open_clip")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / _VOCABULARY_FILE
        if path.is_file():
            return path
    raise NotInstalled(
        "the CLIP vocabulary is missing: install the package open_clip_torch, which contains it"
    )


def _byte_letters() -> list[str]:
    """A printable character for each byte: itself if it is printable, else the next one from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = len(set(range(0x100)) - set(printable))
    return [chr(code) for code in (*printable, *range(0x100, 0x100 + hidden))]
