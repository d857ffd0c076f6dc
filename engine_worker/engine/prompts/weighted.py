"""The technique `sd_embed` without the package: A1111's syntax, and prompts of several chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from engine_worker.engine.prompts.encoded import Encode, Encoded
from engine_worker.engine.prompts.reader import (
    CHUNK_TOKENS,
    MAX_TOKENS,
    ClipReader,
    Readers,
    check_chunks,
)
from kernel.protocol.errors import JobRejected
from kernel.protocol.prompt_syntax.a1111 import Section, parse

MOST_WEIGHT: Final = 100.0
"""Larger weights give no images, and in half precision soon infinities."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Up to 75 tokens, each with its weight."""

    tokens: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def with_token(self, tokens: tuple[int, ...], weight: float) -> "_Chunk":
        return _Chunk(self.tokens + tokens, self.weights + (weight,) * len(tokens))


class Weighted:
    """Encodes a prompt in chunks of 75 tokens, and multiplies the embedding of each token by its weight.

    Source: https://github.com/xhinker/sd_embed, which does the same.
    """

    def read(self, text: str) -> Encode:
        """Parse weights and breaks. Raises: JobRejected, if a weight is out of range."""
        sections = parse(text)
        check_weights(sections)
        return partial(_encode, sections)


def _encode(sections: Sequence[Section], readers: Readers) -> Encoded:
    """Encode a prompt in as many chunks as it needs. Raises: JobRejected, if these are too many."""
    chunks = [_chunks(sections, reader) for reader in readers]
    longest = max(len(of_reader) for of_reader in chunks)
    check_chunks(longest)
    hidden: list[Tensor] = []
    pooled: Tensor | None = None
    for reader, of_reader in zip(readers, chunks, strict=True):
        padded = [*of_reader, *[_Chunk()] * (longest - len(of_reader))]
        reading = reader.read([reader.framed(chunk.tokens) for chunk in padded])
        hidden.append(_weighted(reading.hidden, padded))
        pooled = reading.pooled
    # The pooled embedding is that of the first chunk, as in A1111 and compel.
    return Encoded(torch.cat(hidden, dim=-1), None if pooled is None else pooled[:1])


def count_chunks(sections: Sequence[Section], readers: Readers) -> int:
    """The number of chunks of such a prompt."""
    return max(len(_chunks(sections, reader)) for reader in readers)


def check_weights(sections: Sequence[Section]) -> None:
    """Raises: JobRejected, if a weight is out of range."""
    for section in sections:
        for fragment in section:
            # Also rejects NaN: nested brackets may multiply to infinity, and that with 0 to NaN.
            if not abs(fragment.weight) <= MOST_WEIGHT:
                raise JobRejected(f"weights must be at most {MOST_WEIGHT:g}, not {fragment.weight:g}")


def _chunks(sections: Sequence[Section], reader: ClipReader) -> list[_Chunk]:
    """The chunks of all sections. A BREAK at the very end begins no chunk."""
    chunks = [chunk for section in sections for chunk in _chunks_of(section, reader)]
    return chunks[:-1] if len(chunks) > 1 and not chunks[-1].tokens else chunks


def _chunks_of(section: Section, reader: ClipReader) -> Iterator[_Chunk]:
    chunk = _Chunk()
    for fragment in section:
        for tokens in reader.spell(fragment.text):
            for begin in range(0, len(tokens), CHUNK_TOKENS):
                part = tokens[begin : begin + CHUNK_TOKENS]
                if len(chunk.tokens) + len(part) > CHUNK_TOKENS:
                    yield chunk
                    chunk = _Chunk()
                chunk = chunk.with_token(part, fragment.weight)
    yield chunk


def _weighted(hidden: Tensor, chunks: Sequence[_Chunk]) -> Tensor:
    """Multiply by the weights, in float32, and join the chunks to one row.

    Start, end and padding have weight 1. Shapes: (chunks, 77, width) to (1, 77*chunks, width).
    """
    rows = [[1.0, *chunk.weights, *[1.0] * (MAX_TOKENS - 1 - len(chunk.weights))] for chunk in chunks]
    weights = torch.tensor(rows, device=hidden.device).unsqueeze(-1)
    return (hidden.float() * weights).to(hidden.dtype).flatten(0, 1).unsqueeze(0)
