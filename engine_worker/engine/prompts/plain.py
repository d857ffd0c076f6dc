"""The technique `none`: the prompt as it is, and what is too long is cut."""

from functools import partial
from textwrap import shorten

import torch

from engine_worker.engine.prompts.encoded import Encode, Encoded
from engine_worker.engine.prompts.reader import CHUNK_TOKENS, Readers

_SHOWN_CHARACTERS = 100


class Plain:
    """Encodes as the pipelines of diffusers do."""

    def read(self, text: str) -> Encode:
        """There is nothing in the text but text."""
        return partial(encode_plain, text)


def encode_plain(text: str, readers: Readers) -> Encoded:
    """One chunk, with a remark if that was not enough."""
    readings = [reader.read([reader.framed(reader.tokens(text)[:CHUNK_TOKENS])]) for reader in readers]
    embeds = torch.cat([reading.hidden for reading in readings], dim=-1)
    return Encoded(embeds, readings[-1].pooled, _truncation(text, readers))


def _truncation(text: str, readers: Readers) -> tuple[str, ...]:
    """What the text encoders do not see of the prompt."""
    reader = readers[0]
    tokens = reader.tokens(text)
    if len(tokens) <= CHUNK_TOKENS:
        return ()
    lost = shorten(reader.decode(tokens[CHUNK_TOKENS:]), _SHOWN_CHARACTERS, placeholder=" ...")
    return (
        f"has {len(tokens)} tokens, but only the first {CHUNK_TOKENS} are used; its end is cut off: {lost!r}",
    )
