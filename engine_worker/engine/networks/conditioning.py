"""The conditioning of a UNet call: encoded prompts and SDXL's size embeddings."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Conditioning:
    """A job's prompts, encoded.

    Rows are two, unconditional then conditional, or one where guidance is skipped.
    Shapes: embeds (rows, tokens, width); SDXL also pooled (rows, width) and sizes (rows, 6).
    """

    embeds: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    @property
    def rows(self) -> int:
        return self.embeds.shape[0]

    @property
    def tokens(self) -> int:
        return self.embeds.shape[1]
