"""The CLIP tokenizer, from a diffusers folder or the vocabulary in the open_clip package."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec
from transformers import CLIPTokenizer

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.checkpoint_layout import TokenizerPlan
from engine_worker.formats.tokenizer_files import CONFIGS, known_options
from kernel.process.clip_vocabulary import read_vocabulary
from kernel.protocol.errors import ModelUnreadable, NotInstalled


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
    vocabulary = read_vocabulary()
    if vocabulary is None:
        raise NotInstalled(
            "the CLIP vocabulary is missing: install the package open_clip_torch, which contains it"
        )
    tokenizer: Tokenizer = CLIPTokenizer(
        vocab=vocabulary.numbers, merges=vocabulary.merges, pad_token=pad_token, model_max_length=77
    )
    return tokenizer
