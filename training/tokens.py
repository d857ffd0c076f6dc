"""CLIP's real tokenizer, built from the vocabulary that the open_clip_torch wheel carries."""

import gzip
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTokenizer

VOCABULARY = 49_408
"""Tokens: 256 bytes, the same at a word's end, 48,894 merges, a start and an end."""
LENGTH = 77
"""Tokens in a prompt, start, end and padding included."""
START, END = "<|startoftext|>", "<|endoftext|>"


def vocabulary_path() -> Path:
    """Find the list of merges in the installed wheel, without importing the package, which would take seconds.

    Raises: FileNotFoundError, if open_clip_torch is not installed.
    """
    spec = find_spec("open_clip")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        return Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
    raise FileNotFoundError("open_clip_torch is not installed; its wheel carries CLIP's vocabulary")


@cache
def build_tokenizer(pad_token: str = END) -> CLIPTokenizer:
    """Build the tokenizer of SD 1.5; SDXL's second one pads with "!", token 0, instead of the end."""
    with gzip.open(vocabulary_path(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    merges = [(left, right) for left, right in (line.split() for line in lines[1 : VOCABULARY - 512 - 2 + 1])]
    letters = _byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    numbers = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=numbers, merges=merges, pad_token=pad_token, model_max_length=LENGTH)


def encode(texts: Sequence[str], *, pad_with_zero: bool = False) -> Tensor:
    """Give the token ids of each text. Shapes: (batch, 77), int64."""
    tokenizer = build_tokenizer("!" if pad_with_zero else END)
    rows = tokenizer(list(texts), padding="max_length", max_length=LENGTH, truncation=True)
    return torch.tensor(rows["input_ids"])


def _byte_letters() -> list[str]:
    """Give the letter that stands for each byte, in the vocabulary's order: printable bytes first, as themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
