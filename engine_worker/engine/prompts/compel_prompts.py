"""The technique `compel`: its syntax, parsed by the compel package, and prompts of several chunks.

Source: https://github.com/damian0815/compel/blob/main/doc/syntax.md
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from math import ceil
from typing import Final

import torch
from compel import Compel, ReturnedEmbeddingsType
from compel.prompt_parser import Blend, Conjunction, FlattenedPrompt, Fragment, PromptParser
from pyparsing import ParseBaseException, ParserElement
from torch import Tensor

from engine_worker.engine.prompts.encoded import Encode, Encoded
from engine_worker.engine.prompts.pipeline_adapters import TextEncoderAdapter, TokenizerAdapter
from engine_worker.engine.prompts.reader import (
    CHUNK_TOKENS,
    MAX_CHUNKS,
    MAX_TOKENS,
    ClipReader,
    Readers,
    check_chunks,
)
from kernel.protocol.errors import JobRejected

# The parser's time grows exponentially with the number of unclosed brackets.
MAX_UNCLOSED: Final = 2
MAX_READINGS: Final = 4 * MAX_CHUNKS
"""Chunks that are encoded for one prompt: compel encodes the whole prompt again for each weight below 1."""


class CompelPrompts:
    """Encodes with the compel package."""

    def __init__(self) -> None:
        # Without memoization the parser takes four times as long for each level of nesting.
        ParserElement.enable_packrat()

    def read(self, text: str) -> Encode:
        """Parse a prompt, which takes a second for a long one. Raises: JobRejected, if compel cannot parse
        it."""
        unclosed = _unclosed(text)
        if unclosed > MAX_UNCLOSED:
            raise JobRejected(f"{unclosed} brackets are never closed")
        return partial(_encode, text, _parse(text))


def _encode(text: str, parsed: Conjunction, readers: Readers) -> Encoded:
    """Encode a prompt in as many chunks as it needs. Raises: JobRejected, if these are too many."""
    conjunction = _without_empty(parsed, readers[0])
    check_chunks(sum(_count_chunks(prompt, readers[0]) for prompt in conjunction.prompts))
    providers = [_compel(number, readers) for number in range(len(readers))]
    embeds = [_embeds(compel, conjunction) for compel in providers]
    longest = max(held.shape[1] for held in embeds)
    # SDXL's second tokenizer splits exclamation marks differently, so it may need more or fewer chunks.
    padded = [_padded(held, longest, compel) for held, compel in zip(embeds, providers, strict=True)]
    pooled: Tensor | None = None
    if len(readers) > 1:
        pooled = providers[-1].conditioning_provider.get_pooled_embeddings([text])
    return Encoded(torch.cat(padded, dim=-1), pooled, tuple(_remarks(conjunction)))


def _unclosed(text: str) -> int:
    plain = text.replace("\\\\", "").replace("\\(", "").replace("\\)", "")
    unclosed = 0
    for character in plain:
        if character == "(":
            unclosed += 1
        elif character == ")" and unclosed:
            unclosed -= 1
    return unclosed


def _parse(text: str) -> Conjunction:
    try:
        conjunction = Compel.parse_prompt_string(text)
        # "()" parses to no prompt at all, but something must be encoded.
        conjunction = conjunction if conjunction.prompts else Compel.parse_prompt_string("")
    except (ParseBaseException, PromptParser.ParsingException, ValueError) as error:
        raise JobRejected(f"invalid compel syntax: {error}") from error
    except RecursionError as error:
        raise JobRejected("invalid compel syntax: the brackets are nested too deeply") from error
    for blend in conjunction.prompts:
        if isinstance(blend, Blend) and blend.normalize_weights and not sum(blend.weights):
            raise JobRejected("invalid compel syntax: the weights of a blend add up to 0")
    return conjunction


def _without_empty(parsed: Conjunction, reader: ClipReader) -> Conjunction:
    """A copy without the fragments that have no token: compel 2.5.1 fails at one with a weight below 1."""
    conjunction = deepcopy(parsed)
    for part in conjunction.prompts:
        for prompt in _flat(part):
            prompt.children = [
                child
                for child in prompt.children
                if not isinstance(child, Fragment) or reader.tokens(child.text)
            ]
    return conjunction


def _count_chunks(part: FlattenedPrompt | Blend, reader: ClipReader) -> int:
    """The least number of chunks of a part of a conjunction; for a blend, that of its longest prompt."""
    lengths = (
        sum(len(reader.tokens(child.text)) for child in prompt.children if isinstance(child, Fragment))
        for prompt in _flat(part)
    )
    return max(1, ceil(max(lengths, default=0) / CHUNK_TOKENS))


def _flat(part: FlattenedPrompt | Blend) -> list[FlattenedPrompt]:
    return part.prompts if isinstance(part, Blend) else [part]


def _compel(number: int, readers: Readers) -> Compel:
    """The compel object of one text encoder."""
    kinds = ReturnedEmbeddingsType
    is_pair = len(readers) > 1
    return Compel(
        tokenizer=TokenizerAdapter(readers[number]),
        text_encoder=TextEncoderAdapter(readers[number], MAX_READINGS),
        truncate_long_prompts=False,
        returned_embeddings_type=kinds.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
        if is_pair
        else kinds.LAST_HIDDEN_STATES_NORMALIZED,
    )


def _embeds(compel: Compel, conjunction: Conjunction) -> Tensor:
    embeds: Tensor
    embeds, _ = compel.build_conditioning_tensor_for_conjunction(conjunction)
    return embeds


def _padded(embeds: Tensor, tokens: int, compel: Compel) -> Tensor:
    """The embeddings, padded with empty chunks to that number of tokens."""
    if embeds.shape[1] == tokens:
        return embeds
    nothing: Tensor = compel.conditioning_provider.empty_z
    return torch.cat([embeds, nothing.repeat(1, (tokens - embeds.shape[1]) // MAX_TOKENS, 1)], dim=1)


def _remarks(conjunction: Conjunction) -> Iterator[str]:
    """Remarks on syntax that compel parses but that has no effect here."""
    if any(prompt.wants_cross_attention_control for prompt in conjunction.prompts):
        yield "has a .swap(), which is not supported: its first words are used"
    if conjunction.lora_weights:
        yield "has a withLora(), which is not supported: name LoRAs in `loras`"
