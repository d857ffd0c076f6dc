"""The exam: prompts that training never saw, a pipeline's images of them, and how many are right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from tqdm import tqdm

from tests.judge import NothingThere, Pixels, judge
from training.captions import Attribute, held_out_phrasings, say
from training.scenes import Scene, held_out_scenes

Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline

SEED = 2026
STEPS = 20
CFG = 5.0
AT_ONCE: dict[str, int] = {"cpu": 10, "cuda": 100}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for, in which words, from which noise."""

    scene: Scene
    prompt: str
    seed: int


@dataclass(frozen=True, slots=True)
class Score:
    """How many of the images are right, by attribute and in all."""

    asked: int
    right: Mapping[str, int]
    all_right: int

    def share(self, attribute: Attribute) -> float:
        """Give the share of images that have this right."""
        return self.right[attribute.value] / self.asked


def questions(count: int) -> list[Question]:
    """Write the exam's first questions: held-out scenes in held-out phrasings, seeds 0, 1, 2 ..."""
    rng = np.random.default_rng(SEED)
    scenes, phrasings = held_out_scenes(), held_out_phrasings()
    return [
        Question(scene, say(scene, phrasings[rng.integers(len(phrasings))]), seed)
        for seed, scene in enumerate(scenes[rng.integers(len(scenes))] for _ in range(count))
    ]


def sit(pipeline: Pipeline, asked: Sequence[Question], **arguments: object) -> list[Pixels]:
    """Draw every question's image: 20 steps of DPM++ 2M, cfg 5, each from its own seed."""
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    at_once = AT_ONCE[pipeline.device.type]
    images: list[Pixels] = []
    for start in tqdm(range(0, len(asked), at_once), desc="exam", mininterval=5):
        part = asked[start : start + at_once]
        drawn = pipeline(
            prompt=[question.prompt for question in part],
            generator=[torch.Generator("cpu").manual_seed(question.seed) for question in part],
            num_inference_steps=STEPS,
            guidance_scale=CFG,
            height=128,
            width=128,
            output_type="np",
            **{name: _slice(value, start, at_once) for name, value in arguments.items()},
        ).images
        images.extend((drawn * 255).round().astype(np.uint8))
    return images


def _slice(value: object, start: int, count: int) -> object:
    """Cut a list with an entry for each question like the questions; leave all else."""
    return value[start : start + count] if isinstance(value, list) else value


def mark(asked: Sequence[Question], images: Sequence[Pixels]) -> Score:
    """Count what is right; an image without a shape has nothing right."""
    verdicts = [_agrees(image, question.scene) for question, image in zip(asked, images, strict=True)]
    right = {attribute.value: sum(verdict[attribute] for verdict in verdicts) for attribute in Attribute}
    return Score(len(asked), right, sum(all(verdict.values()) for verdict in verdicts))


def _agrees(image: Pixels, scene: Scene) -> dict[Attribute, bool]:
    try:
        return judge(image).agrees(scene)
    except NothingThere:
        return dict.fromkeys(Attribute, False)
