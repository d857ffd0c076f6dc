"""The stages of a prompt: text, parsed, encoded for the UNet; and the protocol of the techniques that process
it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from engine_worker.engine.prompts.reader import Readers


@dataclass(frozen=True, slots=True)
class Encoded:
    """One encoded prompt.

    Shapes: embeds (1, tokens, width), tokens a multiple of 77; pooled (1, width), SDXL only.
    """

    embeds: Tensor
    pooled: Tensor | None
    remarks: tuple[str, ...] = ()
    """Notes for the prompt's author, each a sentence without its subject ("The prompt")."""
    is_empty: bool = False
    """True if there was no text."""

    @property
    def tokens(self) -> int:
        return self.embeds.shape[1]

    @property
    def size_bytes(self) -> int:
        return sum(held.nbytes for held in (self.embeds, self.pooled) if held is not None)


Encode = Callable[[Readers], Encoded]
"""The rest of the work on a parsed prompt: runs the text encoders, on the stepping thread.

Raises: JobRejected, if they cannot encode it.
"""


class Technique(Protocol):
    """A way to interpret weights and length of a prompt."""

    def read(self, text: str) -> Encode:
        """Parse a prompt; may be called from any thread.

        Raises: JobRejected, if it cannot be parsed; its text still lacks the field's name.
        """
