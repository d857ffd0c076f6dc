"""Evaluates the exported families through the stock pipelines of diffusers."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image

from kernel.protocol.enums import ModelBase
from tests.judge import Pixels
from training.command import add_family_arguments, families_of, run_of, run_parser
from training.exam import Pipeline, Score, mark, questions, sit
from training.export import add_unfinished_argument, checkpoint_file, checkpoint_folder, export
from training.families import Family
from training.loop import Run

COUNT = 400
SHOWN = 40

PIPELINES: dict[ModelBase, type[Pipeline]] = {
    ModelBase.SD: StableDiffusionPipeline,
    ModelBase.SDXL: StableDiffusionXLPipeline,
}


def load(run: Run, family: Family) -> Pipeline:
    """Load the family's single file into the stock pipeline; of the folder, only configurations are read."""
    pipeline = PIPELINES[family.base].from_single_file(
        str(checkpoint_file(run, family)), config=str(checkpoint_folder(run, family)), local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    # The file holds half precision, and of SDXL's second encoder one layer would keep it.
    return pipeline.to(run.device, torch.float32)


def evaluate(run: Run, family: Family, count: int) -> Score:
    """Let the family sit the exam; keep the score as JSON and the first images as one PNG."""
    asked = questions(count)
    images = sit(load(run, family), asked)
    score = mark(asked, images)
    path = run.folder / "figures" / f"family-{family.base.value}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(score), indent=1))
    save_sheet(images[:SHOWN], path.with_suffix(".png"))
    return score


def save_sheet(images: Sequence[Pixels], path: Path, columns: int = 8) -> None:
    """Save images side by side."""
    rows = [
        np.concatenate(images[start : start + columns], axis=1) for start in range(0, len(images), columns)
    ]
    Image.fromarray(np.concatenate([row for row in rows if row.shape == rows[0].shape])).save(path)


def describe(score: Score) -> str:
    """Say the score in one line a figure."""
    lines = [f"{name:<12}{count / score.asked:7.1%}" for name, count in score.right.items()]
    return "\n".join([*lines, f"{'all five':<12}{score.all_right / score.asked:7.1%} of {score.asked}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Export and evaluate the families that the command line names."""
    parser = run_parser(__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="of the exam's questions")
    add_family_arguments(parser)
    add_unfinished_argument(parser)
    chosen = parser.parse_args(arguments)
    run = run_of(chosen)
    for family in families_of(chosen):
        export(run, family, unfinished=chosen.unfinished)
        print(family.base.value, describe(evaluate(run, family, chosen.count)), sep="\n")


if __name__ == "__main__":
    main()
