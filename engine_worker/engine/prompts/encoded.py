"""A prompt as text, as it is read, and as the UNet takes it; and the ways to get there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from engine_worker.engine.prompts.reader import Readers


@dataclass(frozen=True, slots=True)
class Encoded:
    """One prompt.

    Shapes: embeds (1, tokens, width), tokens a multiple of 77; pooled (1, width), SDXL only.
    """

    embeds: Tensor
    pooled: Tensor | None
    remarks: tuple[str, ...] = ()
    """What its author should know, each a sentence that still lacks its subject ("The prompt")."""

    @property
    def tokens(self) -> int:
        return self.embeds.shape[1]

    @property
    def size_bytes(self) -> int:
        return sum(held.nbytes for held in (self.embeds, self.pooled) if held is not None)


Encode = Callable[[Readers], Encoded]
"""What is left of a prompt whose text was read: the text encoders' part, for the stepping thread.

Raises: JobRejected, if they cannot read it this way.
"""


class Technique(Protocol):
    """One way to read weights and lengths out of a prompt."""

    def read(self, text: str) -> Encode:
        """Make out what a prompt says; for every thread.

        Raises: JobRejected, if it cannot be read this way, in words that still lack the field's name.
        """
