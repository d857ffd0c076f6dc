"""The tokens that a job's embeddings add to its prompts (textual inversion), for one text encoder.

An embedding's word stands for vectors that no token of the vocabulary has. Its tokens get ids beyond any
vocabulary, and while the encoder runs, a hook replaces their embeddings by these vectors. Neither the token
table nor the tokenizer is changed, so nothing has to be undone.
Source: R. Gal et al., "An Image is Worth One Word", arXiv:2208.01618; adr/0021.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from kernel.protocol.prompt_syntax.embedding_words import EmbeddingWords

FIRST_ID: Final = 1 << 20
"""CLIP's vocabulary ends at 49,408."""
_ANY_TOKEN: Final = 0


@dataclass(frozen=True, slots=True)
class EmbeddingToken:
    """An embedding as one text encoder reads it. Shapes: vectors and outputs (tokens, width)."""

    names: tuple[str, ...]
    vectors: Tensor
    outputs: Tensor | None = None
    """What the encoder is made to say of the tokens, whatever it says (OneTrainer's output embeddings)."""


class EmbeddingTokens:
    """The embeddings of a job. Their words are case-insensitive in prompts."""

    def __init__(self, words: Sequence[EmbeddingToken]) -> None:
        self._words = EmbeddingWords(
            [(name, number) for number, word in enumerate(words) for name in word.names]
        )
        self._spans: list[range] = []
        for word in words:
            first = self._spans[-1].stop if self._spans else FIRST_ID
            self._spans.append(range(first, first + len(word.vectors)))
        self._shown = [word.names[0] for word in words]
        self._vectors = torch.cat([word.vectors for word in words]) if words else None
        self._outputs = [
            (span.start, word.outputs)
            for span, word in zip(self._spans, words, strict=True)
            if word.outputs is not None
        ]

    def split(self, text: str) -> Iterator[str | tuple[int, ...]]:
        """Split a text into plain text and, for each embedding's word, its token ids."""
        for begin, end, number in self._words.split(text):
            yield text[begin:end] if number is None else tuple(self._spans[number])

    def name_of(self, token: int) -> str | None:
        """The word that a token belongs to; None for a token of the vocabulary."""
        return next((self._shown[number] for number, span in enumerate(self._spans) if token in span), None)

    def is_last(self, token: int) -> bool:
        """True for the last token of a word."""
        return any(token == span[-1] for span in self._spans)

    @contextmanager
    def laid_over(self, table: nn.Module, tokens: Tensor) -> Iterator[Tensor]:
        """A context in which the token table returns the embeddings' vectors for these tokens.

        Yields: the tokens, with ids of the vocabulary in place of the embeddings' ids.
        """
        if self._vectors is None:
            yield tokens
            return
        is_word = tokens >= FIRST_ID
        vectors = self._vectors[tokens[is_word].long() - FIRST_ID]

        def lay(module: nn.Module, inputs: tuple[Tensor, ...], looked_up: Tensor) -> Tensor:
            laid = looked_up.clone()
            laid[is_word] = vectors.to(laid.dtype)
            return laid

        hook = table.register_forward_hook(lay)
        try:
            yield tokens.masked_fill(is_word, _ANY_TOKEN)
        finally:
            hook.remove()

    def put_outputs(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """What the encoder said, with the outputs of the embeddings that have some in their tokens' places.

        Shapes: tokens (chunks, 77), hidden (chunks, 77, width).
        """
        for first, outputs in self._outputs:
            is_word = (tokens >= first) & (tokens < first + len(outputs))
            hidden = hidden.masked_scatter(
                is_word[..., None], outputs[tokens[is_word].long() - first].to(hidden.dtype)
            )
        return hidden
