"""Trains the background remover: a small U-Net that says how much of each pixel belongs to the shape,
exported to ONNX.

It has the interface of U2-Net, as background removers mostly do: images normalized by ImageNet's mean and
deviation go in (batch, 3, height, width), a mask of 0..1 comes out (batch, 1, height, width). Sides are
multiples of 8.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.command import run_from_command_line
from training.drawing import Window, draw, draw_mask, whole
from training.loop import Part, Recipe, Run, one_cycle, seeded, train, trained_weights
from training.sheets import any_sheet

NAME = "remover"
RECIPES = {"cpu": Recipe(batch=8, steps=2_000), "cuda": Recipe(batch=64, steps=4_000)}
PEAK_RATE = 3e-3
CHANNELS = (8, 16, 24, 32)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's images in 0..1; removers made from trained backbones expect them, and so does this one."""
NOISE = 0.1
OPSET = 17


class Remover(nn.Module):
    """A U-Net of four levels with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _convolutions(before, after) for before, after in zip((3, *CHANNELS), CHANNELS, strict=False)
        )
        self.up = nn.ModuleList(
            _convolutions(below + beside, beside)
            for below, beside in zip(CHANNELS[:0:-1], CHANNELS[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(CHANNELS[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give the mask. Shapes: (batch, 3, height, width) to (batch, 1, height, width), 0..1."""
        return self.logits(images).sigmoid()

    def logits(self, images: Tensor) -> Tensor:
        """Give the mask before its sigmoid."""
        levels: list[Tensor] = []
        features = images
        for block in self.down:
            features = block(functional.max_pool2d(features, 2) if levels else features)
            levels.append(features)
        for block, beside in zip(self.up, levels[-2::-1], strict=True):
            above = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat([above, beside], dim=1))
        mask: Tensor = self.last(features)
        return mask


def normalised(images: Tensor) -> Tensor:
    """Normalise images of -1..1 as the remover expects them."""
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return ((images + 1) / 2 - mean) / deviation


def train_remover(run: Run) -> None:
    """Train the remover on drawn images of every look, noisy, with the masks that they were drawn by."""
    torch.manual_seed(run.seed)
    remover = Remover().to(run.device)
    recipe = RECIPES[run.device.type]
    train(
        Part(
            name=NAME,
            modules=nn.ModuleDict({"remover": remover}),
            optimizer=torch.optim.AdamW(remover.parameters(), lr=PEAK_RATE, weight_decay=1e-4, fused=True),
            steps=run.steps or recipe.steps,
            rate=one_cycle,
            loss=lambda step: _loss(remover, step, recipe.batch, run),
        ),
        run,
    )


def save_remover(path: Path, run: Run) -> None:
    """Write the remover as an ONNX model.

    Raises: NotTrained, if it has not been trained to its end.
    """
    remover = Remover().eval()
    remover.load_state_dict(trained_weights(run.folder, NAME, "remover"))
    sides = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        remover,
        (torch.zeros(1, 3, 128, 128),),
        str(path),
        input_names=["input"],
        output_names=["mask"],
        dynamic_axes={"input": sides, "mask": sides},
        opset_version=OPSET,
        dynamo=False,
    )


def _loss(remover: Remover, step: int, batch: int, run: Run) -> Tensor:
    rng = np.random.default_rng([run.seed, step])
    sheet = any_sheet(batch, rng).to(run.device)
    window: Window = whole(sheet)
    images = draw(sheet, window)
    strength = NOISE * torch.from_numpy(rng.random((batch, 1, 1, 1), dtype=np.float32)).to(run.device)
    noise = torch.randn(images.shape, generator=seeded(run.seed, step, run.device), device=run.device)
    logits = remover.logits(normalised(images + strength * noise))
    return functional.binary_cross_entropy_with_logits(logits, draw_mask(sheet, window))


def _convolutions(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


if __name__ == "__main__":
    run_from_command_line(train_remover, __doc__)
