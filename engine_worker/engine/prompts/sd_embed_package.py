"""The technique `sd_embed`, by the package of that name if it is installed."""

import logging
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

from engine_worker.engine.prompts.encoded import Encode, Encoded, Technique
from engine_worker.engine.prompts.pipeline_adapters import PipelineAdapter
from engine_worker.engine.prompts.plain import encode_plain
from engine_worker.engine.prompts.reader import Readers, check_chunks
from engine_worker.engine.prompts.weighted import Weighted, check_weights, count_chunks
from kernel.process.log import line
from kernel.protocol.prompt_syntax.a1111 import Section, parse, written

_log = logging.getLogger(__name__)

# The package replaces an empty text by the word "empty"; a space encodes to no token.
_NOTHING = " "


class EmbedSd(Protocol):
    """get_weighted_text_embeddings_sd15 of the package."""

    def __call__(
        self, pipe: PipelineAdapter, prompt: str, neg_prompt: str, pad_last_block: bool
    ) -> tuple[Tensor, Tensor]: ...


class EmbedSdxl(Protocol):
    """get_weighted_text_embeddings_sdxl of the package."""

    def __call__(
        self, pipe: PipelineAdapter, prompt: str, neg_prompt: str, pad_last_block: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...


def find_sd_embed() -> Technique:
    """The package if it can be imported, else our own implementation."""
    if find_spec("sd_embed") is None:
        return Weighted()
    try:
        from sd_embed.embedding_funcs import (
            get_weighted_text_embeddings_sd15,
            get_weighted_text_embeddings_sdxl,
        )
    except ImportError as error:
        _log.warning(line("sd_embed_unusable", error=repr(error)))
        return Weighted()
    return SdEmbedPackage(get_weighted_text_embeddings_sd15, get_weighted_text_embeddings_sdxl)


class SdEmbedPackage:
    """Encodes with the package, which has no access to the encoders themselves.

    Each prompt is encoded separately, not as a pair of prompt and negative prompt. BREAK, which the package
    treats as a word with a weight of -1, is handled here.
    """

    def __init__(self, embed_sd: EmbedSd, embed_sdxl: EmbedSdxl) -> None:
        self._embed_sd = embed_sd
        self._embed_sdxl = embed_sdxl

    def read(self, text: str) -> Encode:
        """Parse weights and breaks: the package gets sections whose syntax it cannot read otherwise.

        Raises: JobRejected, if a weight is out of range; half precision, in which the package computes, would
        make infinities of some.
        """
        sections = parse(text)
        check_weights(sections)
        return partial(self._encode, sections)

    def _encode(self, sections: Sequence[Section], readers: Readers) -> Encoded:
        """Encode a prompt in as many chunks as it needs. Raises: JobRejected, if these are too many.

        One without weights, in one chunk, is encoded as by the stock pipelines: the package would round it to
        half precision, and pad SDXL's second text encoder in its own way.
        """
        chunks = count_chunks(sections, readers)
        check_chunks(chunks)
        if chunks == 1 and all(one.weight == 1.0 for section in sections for one in section):
            return encode_plain("".join(one.text for section in sections for one in section), readers)
        if len(sections) > 1 and not any(one.text.strip() for one in sections[-1]):
            sections = sections[:-1]
        encoded = [self._encode_section(section, readers) for section in sections]
        return Encoded(torch.cat([one.embeds for one in encoded], dim=1), encoded[0].pooled)

    def _encode_section(self, section: Section, readers: Readers) -> Encoded:
        if not any(readers[0].tokens(one.text) for one in section):
            return encode_plain("", readers)
        text = written(section)
        pipeline = PipelineAdapter(readers)
        if len(readers) == 1:
            embeds, _ = self._embed_sd(pipeline, prompt=text, neg_prompt=_NOTHING, pad_last_block=True)
            return Encoded(embeds, None)
        embeds, _, pooled, _ = self._embed_sdxl(
            pipeline, prompt=text, neg_prompt=_NOTHING, pad_last_block=True
        )
        return Encoded(embeds, pooled)
