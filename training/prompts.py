"""The batches of all that is trained with prompts: images of a gallery, a fresh caption for each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.captions import training_caption
from training.scenes import Scene, Shape, Size
from training.tokens import ZERO, encode

DROPPED_SHARE = 0.25
"""Of the prompts are empty, so that the model can also be asked for nothing (arXiv 2207.12598). With the
usual tenth a small model's answer to nothing stays far behind, and guidance of 5 exaggerates what is only its
error: corners of squares become spikes, and circles diamonds.
"""

Caption = Callable[[Scene, np.random.Generator], str]
"""Says a scene."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Images and what is asked for."""

    images: Tensor
    """(batch,) rows of the gallery."""
    tokens: Tensor
    """(batch, 77)"""
    padded_with_zero: Tensor
    """The same for SDXL's second encoder."""
    is_dropped: Tensor
    """(batch,)"""

    def to(self, device: torch.device) -> "Prompts":
        """Give the same batch on another device."""
        images, tokens = self.images.to(device), self.tokens.to(device)
        return Prompts(images, tokens, self.padded_with_zero.to(device), self.is_dropped.to(device))


@dataclass(frozen=True, slots=True)
class PromptWriter:
    """Writes the prompts of any step."""

    scenes: Sequence[Scene]
    """Of the gallery, row by row."""
    batch: int
    seed: int
    caption: Caption
    added: tuple[str, ...] = ()
    """Tokens that captions use and CLIP lacks."""
    chances: NDArray[np.float64] | None = None
    """Of each scene to be chosen (they sum to 1); None chooses all alike."""

    def __call__(self, step: int) -> Prompts:
        """Choose images and caption them; the same for the same step, always."""
        rng = np.random.default_rng([self.seed, step])
        images = self._choose(rng)
        dropped = rng.random(self.batch) < DROPPED_SHARE
        captions = [self.caption(self.scenes[image], rng) for image in images]
        texts = ["" if drop else text for drop, text in zip(dropped, captions, strict=True)]
        return Prompts(
            images=torch.from_numpy(images),
            tokens=encode(texts, added=self.added),
            padded_with_zero=encode(texts, pad_token=ZERO, added=self.added),
            is_dropped=torch.from_numpy(dropped),
        )

    def _choose(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.chances is None:
            return rng.integers(len(self.scenes), size=self.batch)
        return rng.choice(len(self.scenes), size=self.batch, p=self.chances)


def plain_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Say the scene, or some of it."""
    return training_caption(scene, rng).text


def emphatic_writer(scenes: Sequence[Scene], batch: int, seed: int) -> PromptWriter:
    """Give the writer of all that must tell small and round shapes: their scenes are shown more often."""
    return PromptWriter(scenes, batch, seed, plain_caption, chances=emphasise_small_and_round(scenes))


def emphasise_small_and_round(scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """Give each scene's chance to be shown: small shapes and circles twice that of others, small circles four
    times, for they are the last to be told from squares (at this size a few latents hold the difference)."""
    weights = np.array(
        [
            (2.0 if scene.size is Size.SMALL else 1.0) * (2.0 if scene.shape is Shape.CIRCLE else 1.0)
            for scene in scenes
        ]
    )
    chances: NDArray[np.float64] = weights / weights.sum()
    return chances
