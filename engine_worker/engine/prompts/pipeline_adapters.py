"""Adapters that give external prompt packages the interface of a pipeline: tokenizers and text encoders.

A reader of ours is behind each. So the packages see the job's embeddings without a token being added to any
tokenizer, read the layer that the job's clip skip selects, and have nothing that they could truncate or
resize.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import BatchEncoding
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.clip.modeling_clip import CLIPTextModelOutput

from engine_worker.engine.prompts.reader import CHUNK_TOKENS, MAX_TOKENS, ClipReader, Readers
from kernel.protocol.errors import JobRejected

_END_OF_WORD = "</w>"


class TokenizerAdapter:
    """The part of CLIPTokenizer that compel and sd_embed use."""

    model_max_length = MAX_TOKENS

    def __init__(self, reader: ClipReader) -> None:
        self._reader = reader
        self.bos_token_id = reader.tokenizer.bos_token_id
        self.eos_token_id = reader.tokenizer.eos_token_id
        self.pad_token_id = reader.tokenizer.pad_token_id

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        truncation: bool = False,
        padding: str = "do_not_pad",
        return_tensors: None = None,
    ) -> BatchEncoding:
        """Tokens with start and end, never padded; a list of texts gives a list of token lists."""
        if isinstance(text, str):
            return BatchEncoding({"input_ids": self._tokens(text, truncation)})
        return BatchEncoding({"input_ids": [self._tokens(one, truncation) for one in text]})

    def convert_ids_to_tokens(self, tokens: Sequence[int]) -> list[str]:
        """The pieces of words, with a mark at the end of each word, where a text may be split."""
        return [self._piece(token) for token in tokens]

    def _tokens(self, text: str, is_truncated: bool) -> list[int]:
        tokens = self._reader.tokens(text)
        return [self.bos_token_id, *(tokens[:CHUNK_TOKENS] if is_truncated else tokens), self.eos_token_id]

    def _piece(self, token: int) -> str:
        name = self._reader.tokens_added.name_of(token)
        if name is None:
            return self._reader.tokenizer.convert_ids_to_tokens(token)
        return name + _END_OF_WORD if self._reader.tokens_added.is_last(token) else name


@dataclass(frozen=True, slots=True)
class _Encoder:
    layers: tuple[()] = ()


@dataclass(frozen=True, slots=True)
class _Body:
    encoder: _Encoder = _Encoder()


class TextEncoderAdapter:
    """The part of a CLIP text encoder that compel and sd_embed use."""

    text_model = _Body()
    """sd_embed accesses the layers before it knows whether it will remove any."""

    def __init__(self, reader: ClipReader, max_readings: int | None = None) -> None:
        """At most `max_readings` chunks may be encoded in all; None: any number."""
        self._reader = reader
        self._max_readings = max_readings
        self._readings = 0
        self.device = reader.device
        self.dtype = reader.dtype

    def __call__(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> BaseModelOutput | CLIPTextModelOutput:
        """Encode chunks. Each of the returned layers is the one that the job selects.

        Raises: JobRejected, if too many chunks were encoded.
        """
        self._readings += len(tokens)
        if self._max_readings is not None and self._readings > self._max_readings:
            raise JobRejected(
                f"takes more than {self._max_readings} passes over {CHUNK_TOKENS} tokens: "
                "use fewer weights below 1, each of which encodes the whole prompt again"
            )
        reading = self._reader.read_tokens(tokens, attention_mask)
        hidden = (reading.hidden, reading.hidden)
        if reading.pooled is None:
            return BaseModelOutput(last_hidden_state=reading.hidden, hidden_states=hidden)
        return CLIPTextModelOutput(
            text_embeds=reading.pooled, last_hidden_state=reading.hidden, hidden_states=hidden
        )


class PipelineAdapter:
    """The part of a pipeline that compel and sd_embed use. For SD 1.5 the second tokenizer and encoder are
    the first."""

    def __init__(self, readers: Readers) -> None:
        self.device: torch.device = readers[0].device
        self.tokenizer = TokenizerAdapter(readers[0])
        self.text_encoder = TextEncoderAdapter(readers[0])
        self.tokenizer_2 = TokenizerAdapter(readers[-1])
        self.text_encoder_2 = TextEncoderAdapter(readers[-1])
