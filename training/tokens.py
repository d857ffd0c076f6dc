"""Prompts as CLIP's real tokens."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from engine_worker.engine.networks.tokenizer import make_tokenizer
from engine_worker.formats.checkpoint_layout import TokenizerPlan

END = "<|endoftext|>"
ZERO = "!"
"""Token 0; SDXL's second encoder reads prompts padded with it."""


@cache
def build_tokenizer(pad_token: str = END, added: tuple[str, ...] = ()) -> CLIPTokenizer:
    """Build the tokenizer that the server builds, with the named tokens behind its last."""
    shared = make_tokenizer(TokenizerPlan(pad_token=pad_token))
    if not isinstance(shared, CLIPTokenizer):
        raise TypeError(f"the tokenizer is a {type(shared).__name__}, not CLIP's")
    tokenizer = deepcopy(shared)
    tokenizer.add_tokens(list(added))
    return tokenizer


def encode(texts: Sequence[str], *, pad_token: str = END, added: tuple[str, ...] = ()) -> Tensor:
    """Give the token ids of each text. Shapes: (batch, 77), int64."""
    rows = build_tokenizer(pad_token, added)(
        list(texts), padding="max_length", max_length=77, truncation=True
    )
    return torch.tensor(rows["input_ids"])
