"""Trains the text encoders to say what a caption says, from their pooled output: the UNet then starts from words that mean something.

Each encoder gets one linear layer for each attribute, which tells the value or that the caption does not say it. The
layers are thrown away afterwards. Half a minute on a CPU saves the UNet thousands of steps.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812: the name that PyTorch's own pages use

from training.batches import Feed
from training.captions import Attribute, Caption, training_caption
from training.command import run_from_command_line
from training.loop import Part, Run, one_cycle, train
from training.networks import SD_TEXT_WIDTH, SDXL_TEXT_WIDTHS, build_sd_text_encoder, build_sdxl_text_encoders
from training.scenes import Colour, Place, Scene, Shape, Size, training_scenes
from training.tokens import encode

NAME_SD, NAME_SDXL = "text-sd", "text-sdxl"
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


def train_sd_text_encoder(run: Run) -> None:
    """Train SD's text encoder."""
    torch.manual_seed(run.seed)
    encoder = build_sd_text_encoder()
    _train(NAME_SD, nn.ModuleDict({"text": encoder, "heads": _heads(SD_TEXT_WIDTH)}), run)


def train_sdxl_text_encoders(run: Run) -> None:
    """Train both of SDXL's text encoders, each to know everything."""
    torch.manual_seed(run.seed)
    first, second = build_sdxl_text_encoders()
    heads = {"heads": _heads(SDXL_TEXT_WIDTHS[0]), "heads_2": _heads(SDXL_TEXT_WIDTHS[1])}
    _train(NAME_SDXL, nn.ModuleDict({"text": first, "text_2": second, **heads}), run)


def lesson(step: int, seed: int = 0) -> Lesson:
    """Write the captions of one step."""
    rng = np.random.default_rng([seed, step])
    known = training_scenes()
    scenes = [known[index] for index in rng.integers(len(known), size=BATCH)]
    captions = [training_caption(scene, rng) for scene in scenes]
    texts = [caption.text for caption in captions]
    said = [_said(scene, caption) for scene, caption in zip(scenes, captions, strict=True)]
    return Lesson(encode(texts), encode(texts, pad_with_zero=True), torch.tensor(said))


def _train(name: str, modules: nn.ModuleDict, run: Run) -> None:
    modules.to(run.device)
    steps = run.steps or STEPS
    feed = Feed(lesson, steps, run.loaders)
    train(
        Part(
            name=name,
            modules=modules,
            optimizer=torch.optim.AdamW(modules.parameters(), lr=PEAK_RATE, weight_decay=0.0),
            steps=steps,
            rate=one_cycle,
            loss=lambda step: _loss(modules, feed(step), run.device),
        ),
        run,
    )


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
    return sum((F.cross_entropy(logit, said[:, row]) for row, logit in enumerate(logits)), torch.zeros(()).to(pooled))


def _heads(width: int) -> nn.Linear:
    """Build the linear layers of all attributes side by side."""
    return nn.Linear(width, sum(len(values) + 1 for values in VALUES.values()))


def _said(scene: Scene, caption: Caption) -> list[int]:
    """Number what the caption says of the scene: 0 for unsaid."""
    return [
        list(values).index(getattr(scene, attribute.value)) + 1 if attribute in caption.said else 0
        for attribute, values in VALUES.items()
    ]


def main(run: Run) -> None:
    """Train the encoders of both families."""
    train_sd_text_encoder(run)
    train_sdxl_text_encoders(run)


if __name__ == "__main__":
    run_from_command_line(main, __doc__)
