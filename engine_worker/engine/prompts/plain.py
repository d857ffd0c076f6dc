"""The technique `none`: the prompt without any syntax, truncated to one chunk."""

from functools import partial
from textwrap import shorten

import torch

from engine_worker.engine.prompts.encoded import Encode, Encoded
from engine_worker.engine.prompts.reader import CHUNK_TOKENS, Readers

_SHOWN_CHARACTERS = 100


class Plain:
    """Encodes as the pipelines of diffusers do."""

    def read(self, text: str) -> Encode:
        """There is no syntax to parse."""
        return partial(encode_plain, text)


def encode_plain(text: str, readers: Readers) -> Encoded:
    """One chunk, with a remark if the prompt was truncated."""
    readings = [reader.read([reader.framed(reader.tokens(text)[:CHUNK_TOKENS])]) for reader in readers]
    embeds = torch.cat([reading.hidden for reading in readings], dim=-1)
    return Encoded(embeds, readings[-1].pooled, _truncation(text, readers))


def _truncation(text: str, readers: Readers) -> tuple[str, ...]:
    """A remark with the part of the prompt that the text encoders do not see."""
    reader = readers[0]
    tokens = reader.tokens(text)
    if len(tokens) <= CHUNK_TOKENS:
        return ()
    lost = shorten(reader.decode(tokens[CHUNK_TOKENS:]), _SHOWN_CHARACTERS, placeholder=" ...")
    return (
        f"has {len(tokens)} tokens, but only the first {CHUNK_TOKENS} are used; its end is cut off: {lost!r}",
    )
