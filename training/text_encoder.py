"""Trains the text encoders to say what a caption says, from their pooled output: the UNet then starts from
words that mean something.

Each encoder gets one linear layer for each attribute, which tells the value or that the caption does not say
it. The layers are thrown away afterwards. Half a minute on a CPU saves the UNet thousands of steps.
"""

from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from training.batches import Feed
from training.captions import Attribute, Caption, training_caption
from training.command import run_from_command_line
from training.families import FAMILIES, Family
from training.loop import Part, Run, one_cycle, train
from training.networks import build_text_encoders
from training.scenes import Colour, Place, Scene, Shape, Size, training_scenes
from training.tokens import ZERO, encode

STEPS = 800
BATCH = 64
PEAK_RATE = 2e-3

VALUES: dict[Attribute, type[Enum]] = {
    Attribute.SHAPE: Shape,
    Attribute.COLOUR: Colour,
    Attribute.BACKGROUND: Colour,
    Attribute.PLACE: Place,
    Attribute.SIZE: Size,
}


@dataclass(frozen=True, slots=True)
class Lesson:
    """Captions and what they say."""

    tokens: Tensor
    """(batch, 77)"""
    padded_with_zero: Tensor
    """The same for SDXL's second encoder."""
    said: Tensor
    """(batch, attributes): 0 for unsaid, else the value's number."""


def train_text_encoders(family: Family, run: Run) -> None:
    """Train the family's text encoders side by side, each to know everything."""
    torch.manual_seed(run.seed)
    encoders = zip(family.encoders, build_text_encoders(family.base), strict=True)
    modules = nn.ModuleDict()
    for name, encoder in encoders:
        modules.update({name: encoder, name.replace("text", "heads"): _heads(encoder)})
    modules.to(run.device)
    steps = run.steps or STEPS
    feed = Feed(partial(lesson, seed=run.seed), steps, run.loaders)
    train(
        Part(
            name=family.text_part,
            modules=modules,
            optimizer=torch.optim.AdamW(modules.parameters(), lr=PEAK_RATE, weight_decay=0.0, fused=True),
            steps=steps,
            rate=one_cycle,
            loss=lambda step: _loss(modules, feed(step), run.device),
        ),
        run,
    )


def lesson(step: int, seed: int) -> Lesson:
    """Write the captions of one step."""
    rng = np.random.default_rng([seed, step])
    known = training_scenes()
    scenes = [known[index] for index in rng.integers(len(known), size=BATCH)]
    captions = [training_caption(scene, rng) for scene in scenes]
    texts = [caption.text for caption in captions]
    said = [_said(scene, caption) for scene, caption in zip(scenes, captions, strict=True)]
    return Lesson(encode(texts), encode(texts, pad_token=ZERO), torch.tensor(said))


def _loss(modules: nn.ModuleDict, lesson: Lesson, device: torch.device) -> Tensor:
    said = lesson.said.to(device)
    loss = _wrong(modules["heads"], modules["text"](lesson.tokens.to(device)).pooler_output, said)
    if "text_2" in modules:
        pooled = modules["text_2"](lesson.padded_with_zero.to(device)).text_embeds
        loss = loss + _wrong(modules["heads_2"], pooled, said)
    return loss


def _wrong(heads: nn.Module, pooled: Tensor, said: Tensor) -> Tensor:
    """Add up the cross entropies of all attributes."""
    logits = torch.split(heads(pooled), [len(values) + 1 for values in VALUES.values()], dim=1)
    return sum(
        (functional.cross_entropy(logit, said[:, row]) for row, logit in enumerate(logits)),
        torch.zeros(()).to(pooled),
    )


def _heads(encoder: CLIPTextModel | CLIPTextModelWithProjection) -> nn.Linear:
    """Build the linear layers of all attributes side by side."""
    return nn.Linear(encoder.config.hidden_size, sum(len(values) + 1 for values in VALUES.values()))


def _said(scene: Scene, caption: Caption) -> list[int]:
    """Number what the caption says of the scene: 0 for unsaid."""
    return [
        list(values).index(getattr(scene, attribute.value)) + 1 if attribute in caption.said else 0
        for attribute, values in VALUES.items()
    ]


def main(run: Run) -> None:
    """Train the encoders of both families."""
    for family in FAMILIES:
        train_text_encoders(family, run)


if __name__ == "__main__":
    run_from_command_line(main, __doc__)
