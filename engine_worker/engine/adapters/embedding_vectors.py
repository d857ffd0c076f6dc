"""Reads the vectors of embeddings (textual inversion) from their own files, and from those of LoRAs."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine_worker.engine.loading.weights import read_tensors
from engine_worker.formats.embedding_keys import EmbeddingWord, Slot
from kernel.protocol.errors import ModelUnreadable


@dataclass(frozen=True, slots=True)
class WordVectors:
    """One word. Shapes: each (tokens, width of its text encoder), in float32 on the CPU."""

    word: str | None
    """None if its embedding's name is the word."""
    inputs: tuple[Tensor, ...]
    """For one text encoder or two, in place of the embeddings of its tokens."""
    outputs: tuple[Tensor | None, ...]
    """For as many, in place of what the encoder says of its tokens; None for what it says itself."""


def read_vectors(words: Iterable[EmbeddingWord]) -> tuple[WordVectors, ...]:
    """Read the vectors of some words.

    Raises: ModelUnreadable, if they cannot be read, or are not numbers.
    """
    return tuple(map(_read, words))


def _read(word: EmbeddingWord) -> WordVectors:
    found = {slot: _tensor(word, slot) for slot in word.vectors}
    inputs = [found[slot] for slot in (Slot.FIRST, Slot.SECOND) if slot in found]
    outputs = [found.get(slot) for slot in (Slot.FIRST_OUTPUT, Slot.SECOND_OUTPUT)][: len(inputs)]
    return WordVectors(word.word, tuple(inputs), tuple(outputs))


def _tensor(word: EmbeddingWord, slot: Slot) -> Tensor:
    header, key = word.vectors[slot]
    held = read_tensors(header, [key])[key].float()
    if not torch.isfinite(held).all():
        raise ModelUnreadable("it is damaged: it has values that are infinite or not numbers")
    return held.reshape(-1, held.shape[-1])
