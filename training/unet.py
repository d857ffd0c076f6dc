"""Trains a UNet, and its text encoders with it, from nothing: the part of the work that takes hours on a CPU."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from training.batches import Feed
from training.conditioning import Conditioning
from training.denoising import build_noise_schedule, denoising_loss
from training.gallery import Gallery
from training.loop import Part, Run, seeded, train, warm_then_fall
from training.precision import autocast
from training.prompts import Prompts, PromptWriter, plain_caption

PEAK_RATE = 1e-3
"""2e-3 collapsed after 700 steps."""
TEXT_RATE = 3e-4
DECAY = 0.998


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much a device trains on."""

    batch: int
    steps: int
    pictures: int


RECIPES = {
    "cpu": Recipe(batch=32, steps=20_000, pictures=20_000),
    "cuda": Recipe(batch=256, steps=10_000, pictures=100_000),
}

Condition = Callable[[nn.ModuleDict, Prompts], Conditioning]


def train_unet(name: str, modules: nn.ModuleDict, condition: Condition, gallery: Gallery, run: Run) -> None:
    """Train `modules["unet"]` and the text encoders beside it."""
    recipe = RECIPES[run.device.type]
    steps = run.steps or recipe.steps
    feed = Feed(PromptWriter(gallery.scenes, recipe.batch, run.seed, plain_caption), steps, run.loaders)
    schedule = build_noise_schedule()
    modules.to(run.device)

    def loss(step: int) -> Tensor:
        return _loss(modules, condition, gallery, feed(step).to(run.device), schedule, seeded(run.seed, step, run.device))

    train(
        Part(
            name=name,
            modules=modules,
            optimizer=_optimizer(modules),
            steps=steps,
            rate=warm_then_fall,
            loss=loss,
            averages=copy.deepcopy(modules).requires_grad_(False),
            decay=DECAY,
        ),
        run,
    )


def _loss(
    modules: nn.ModuleDict,
    condition: Condition,
    gallery: Gallery,
    prompts: Prompts,
    schedule: DDPMScheduler,
    noise: torch.Generator,
) -> Tensor:
    def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
        with autocast(noisy.device, is_convolutional=False):
            told = condition(modules, prompts)
            return modules["unet"](noisy, timesteps, told.words, added_cond_kwargs=told.added).sample

    return denoising_loss(predict, gallery.latents[prompts.pictures].float(), schedule, noise)


def _optimizer(modules: nn.ModuleDict) -> torch.optim.Optimizer:
    """Train the text encoders, which come trained, at a lower rate; without decay, which would wear off unused words."""
    text = [weight for name, weight in modules.named_parameters() if not name.startswith("unet.")]
    return torch.optim.AdamW(
        [
            {"params": modules["unet"].parameters(), "lr": PEAK_RATE, "weight_decay": 1e-2},
            {"params": text, "lr": TEXT_RATE, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.99),
    )
