"""Trains the textual inversions: a new word for a look, with everything but the word's own vectors frozen.

The word means dusk: an orange shape before a purple background. The family can draw that already; the word is
learned, not the look.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from training.batches import Feed
from training.captions import Attribute, training_caption
from training.command import run_families_from_command_line
from training.denoising import GalleryLoss
from training.families import SD, Family, tell_noise, trained_modules
from training.gallery import open_gallery
from training.looks import Look
from training.loop import Part, Recipe, Run, is_trained, one_cycle, train, trained_weights
from training.prompts import PromptWriter
from training.scenes import Scene
from training.tokens import encode
from training.vae import trained_vae

WORD = "<dusk>"
TOKENS = (WORD, f"{WORD}_1")
"""Two vectors, one for each color; diffusers names a word's further tokens like this."""
FIRST_WORDS = "shape background"
"""The words whose vectors the new ones start from."""
PATTERNS = ("{text}, {word}", "{word}, {text}", "{text} in {word} colors", "{word} {text}")
SAYABLE = frozenset({Attribute.SHAPE, Attribute.PLACE, Attribute.SIZE})
RECIPES = {
    "cpu": Recipe(batch=16, steps=500, images=2_000),
    "cuda": Recipe(batch=64, steps=800, images=2_000),
}
PEAK_RATE = 2e-2


class WordTable(nn.Module):
    """An encoder's table of words, frozen, with a few new ones behind the last."""

    def __init__(self, known: nn.Embedding, added: Tensor) -> None:
        super().__init__()
        self.known = known
        self.added = nn.Parameter(added)

    def forward(self, tokens: Tensor) -> Tensor:
        """Look the tokens up. Shapes: (batch, 77) to (batch, 77, width)."""
        return functional.embedding(tokens, torch.cat([self.known.weight, self.added]))


def part_name(family: Family) -> str:
    """Name the training of the family's word."""
    return f"embedding-{family.base.value}"


def train_embedding(family: Family, run: Run) -> None:
    """Train the family's word.

    Raises: NotTrained, if the family has not been trained.
    """
    torch.manual_seed(run.seed)
    modules = with_new_word(family, trained_modules(family, run))
    recipe = RECIPES[run.device.type]
    gallery = open_gallery(trained_vae(run, family.base), Look.DUSK, recipe.images, run)
    steps = run.steps or recipe.steps
    writer = PromptWriter(gallery.scenes, recipe.batch, run.seed, caption_with_word, TOKENS)
    taught = [weight for weight in modules.parameters() if weight.requires_grad]
    train(
        Part(
            name=part_name(family),
            modules=modules,
            optimizer=torch.optim.AdamW(taught, lr=PEAK_RATE, weight_decay=0.0),
            steps=steps,
            rate=one_cycle,
            loss=GalleryLoss(
                gallery, Feed(writer, steps, run.loaders), partial(tell_noise, family, modules), run
            ),
        ),
        run,
    )


def caption_with_word(scene: Scene, rng: np.random.Generator) -> str:
    """Say shape, place and size, or some of them, and the new word instead of colors."""
    text = training_caption(scene, rng, SAYABLE).text
    return PATTERNS[rng.integers(len(PATTERNS))].format(text=text, word=" ".join(TOKENS)).strip(", ")


def with_new_word(family: Family, modules: nn.ModuleDict) -> nn.ModuleDict:
    """Give each text encoder room for the word; its vectors alone can be trained."""
    first = encode([FIRST_WORDS])[0, 1 : 1 + len(TOKENS)]
    for name in family.encoders:
        encoder: CLIPTextModel | CLIPTextModelWithProjection = modules[name]
        table = encoder.get_input_embeddings()
        encoder.set_input_embeddings(
            WordTable(table, table.weight[first.to(table.weight.device)].detach().clone())
        )
    return modules


def save_embedding(path: Path, family: Family, run: Run) -> None:
    """Write the word as users have it: one tensor for SD, one for each encoder for SDXL.

    Raises: NotTrained, if it has not been trained to its end.
    """
    keys = ("emb_params",) if family is SD else ("clip_l", "clip_g")
    tensors: dict[str, Tensor] = {}
    for key, name in zip(keys, family.encoders, strict=True):
        weights = trained_weights(run.folder, part_name(family), name)
        (tensors[key],) = (weight for parameter, weight in weights.items() if parameter.endswith(".added"))
    save_file({key: tensor.float().contiguous() for key, tensor in tensors.items()}, path)


def train_word(family: Family, run: Run) -> None:
    """Train the word for a family that has been trained."""
    if is_trained(run.folder, family.unet_part):
        train_embedding(family, run)


if __name__ == "__main__":
    run_families_from_command_line(train_word, __doc__)
