"""A text encoder with its tokenizer, as one job uses it: with its embeddings and its clip skip."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Final, assert_never

import torch
from torch import Tensor

from engine_worker.engine.networks.components import Components, SdText, SdxlText, TextEncoder
from engine_worker.engine.networks.tokenizer import Tokenizer
from engine_worker.engine.prompts.clip import Layer, count_layers, read_layer, token_table
from engine_worker.engine.prompts.embedding_tokens import EmbeddingTokens
from engine_worker.engine.runtime.cuda_stream import copy_async
from kernel.protocol.errors import JobRejected

MAX_TOKENS: Final = 77
"""Positions of the CLIP text encoders, including start and end."""
CHUNK_TOKENS: Final = MAX_TOKENS - 2
MAX_CHUNKS: Final = 64
"""The limit of one prompt: 4,800 tokens, about 20,000 characters. An image of 512 x 512 has fewer latents,
and each attention of each step attends to all tokens."""
_CHUNKS_AT_ONCE: Final = 16
"""Bounds the memory for a prompt of any length to that of 16 chunks."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The output of an encoder for some chunks. Shapes: hidden (chunks, 77, width), pooled (chunks,
    width)."""

    hidden: Tensor
    pooled: Tensor | None


@dataclass(frozen=True, slots=True)
class ClipReader:
    """One encoder for one job."""

    tokenizer: Tokenizer
    encoder: TextEncoder
    tokens_added: EmbeddingTokens
    layer: Layer
    device: torch.device
    dtype: torch.dtype

    def spell(self, text: str) -> list[tuple[int, ...]]:
        """The text as tokens, without start and end; the tokens of an embedding stay together."""
        spelled: list[tuple[int, ...]] = []
        for piece in self.tokens_added.split(text):
            if isinstance(piece, tuple):
                spelled.append(piece)
            else:
                spelled += [(token,) for token in self.tokenizer.encode(piece, verbose=False)[1:-1]]
        return spelled

    def tokens(self, text: str) -> list[int]:
        """The text as tokens, without start and end."""
        return list(chain.from_iterable(self.spell(text)))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        parts = (
            self.tokenizer.decode(list(run)) if name is None else name
            for name, run in groupby(tokens, self.tokens_added.name_of)
        )
        return " ".join(part.strip() for part in parts)

    def framed(self, tokens: Sequence[int]) -> list[int]:
        """A chunk for the encoder: up to 75 tokens between start and end, padded to 77."""
        ends = [self.tokenizer.bos_token_id, *tokens, self.tokenizer.eos_token_id]
        return ends + [self.tokenizer.pad_token_id] * (MAX_TOKENS - len(ends))

    def read(self, chunks: Sequence[Sequence[int]]) -> Reading:
        """Encode some chunks, each from `framed`."""
        batches = torch.split(torch.tensor(chunks), _CHUNKS_AT_ONCE)
        readings = [self.read_tokens(tokens) for tokens in batches]
        if len(readings) == 1:
            return readings[0]
        pooled = [reading.pooled for reading in readings if reading.pooled is not None]
        return Reading(
            torch.cat([reading.hidden for reading in readings]), torch.cat(pooled) if pooled else None
        )

    def read_tokens(self, tokens: Tensor, attention_mask: Tensor | None = None) -> Reading:
        """Encode some chunks in one call. Shapes: tokens and attention_mask (chunks, 77)."""
        tokens = copy_async(tokens, self.device)
        with self.tokens_added.laid_over(token_table(self.encoder), tokens) as known:
            output = self.encoder(
                known, attention_mask=attention_mask, output_hidden_states=not self.layer.is_output
            )
        # Only the encoder with a projection has this.
        pooled: Tensor | None = getattr(output, "text_embeds", None)
        hidden = read_layer(self.encoder, output, self.layer)
        return Reading(self.tokens_added.put_outputs(tokens, hidden), pooled)


def check_chunks(chunks: int) -> None:
    """Raises: JobRejected, if a prompt has more chunks than can be encoded."""
    if chunks > MAX_CHUNKS:
        raise JobRejected(
            f"too long: {chunks:,} chunks of {CHUNK_TOKENS} tokens; the limit is {MAX_CHUNKS} "
            f"chunks ({MAX_CHUNKS * CHUNK_TOKENS:,} tokens)"
        )


Readers = tuple[ClipReader, ...]
"""The readers of a job: one for SD 1.5, two for SDXL."""


def make_readers(
    parts: Components, tokens_added: Sequence[EmbeddingTokens], clip_skip: int | None
) -> Readers:
    """The readers of a job; `tokens_added` has an entry for each text encoder.

    A clip skip of 1 or None is the layer that the base was trained with: the last one for SD 1.5, the one
    before it for SDXL. 2 is the layer before that, and so on.
    Raises: JobRejected, if there are not that many layers.
    """
    skip = 1 if clip_skip is None else clip_skip
    pairs: tuple[tuple[Tokenizer, TextEncoder], ...]
    match parts.text:
        case SdText(tokenizer, encoder):
            pairs, layer = ((tokenizer, encoder),), Layer(skip, is_normed=True)
        case SdxlText(tokenizer, encoder, tokenizer_2, encoder_2):
            pairs, layer = ((tokenizer, encoder), (tokenizer_2, encoder_2)), Layer(skip + 1, is_normed=False)
        case _:
            assert_never(parts.text)
    layers = min(count_layers(encoder) for _, encoder in pairs)
    if not 1 <= skip <= layers:
        raise JobRejected(f"clip_skip {skip} is too large: the text encoder has {layers} layers")
    return tuple(
        ClipReader(tokenizer, encoder, added, layer, parts.device, parts.dtype)
        for (tokenizer, encoder), added in zip(pairs, tokens_added, strict=True)
    )
