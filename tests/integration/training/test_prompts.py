"""The prompts of a step say their pictures, some are dropped, and they are the same each time."""

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from engine_worker.engine.networks.tokenizer import make_tokenizer
from engine_worker.formats.checkpoint_layout import TokenizerPlan
from training.prompts import PromptWriter, emphasise_small_and_round, plain_caption
from training.scenes import Scene, Shape, Size, training_scenes
from training.tokens import encode

pytestmark = pytest.mark.torch
END = 49407


def _name(scene: Scene, _: np.random.Generator) -> str:
    return scene.shape.value


def test_the_same_step_gets_the_same_prompts_and_another_step_others() -> None:
    writer = PromptWriter(training_scenes(), batch=8, seed=0, caption=plain_caption)
    first, again, other = writer(3), writer(3), writer(4)
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_each_prompt_says_its_picture_or_nothing() -> None:
    known = training_scenes()
    prompts = PromptWriter(known, batch=64, seed=0, caption=_name)(0)
    texts = [
        "" if dropped else known[image].shape.value
        for image, dropped in zip(prompts.images.tolist(), prompts.is_dropped.tolist(), strict=True)
    ]
    assert 0 < texts.count("") < 20
    assert torch.equal(prompts.tokens, encode(texts))


def test_new_words_are_tokens_behind_the_last() -> None:
    tokens = encode(["a <dusk> <dusk>_1"], added=("<dusk>", "<dusk>_1"))[0]
    assert tokens[1:5].tolist() == [320, END + 1, END + 2, END]
    shared = make_tokenizer(TokenizerPlan())
    assert isinstance(shared, CLIPTokenizer)
    assert not shared.get_added_vocab().keys() & {"<dusk>", "<dusk>_1"}, "the server's own has no new words"


def test_small_shapes_and_circles_are_shown_more_often() -> None:
    known = training_scenes()
    chances = emphasise_small_and_round(known)
    assert chances.sum() == pytest.approx(1.0)
    writer = PromptWriter(known, batch=8_000, seed=0, caption=lambda scene, rng: "", chances=chances)
    shown = [known[image] for image in writer(0).images.tolist()]

    def share(shape: Shape, size: Size) -> float:
        """Times shown, by how many such scenes there are."""
        is_meant = [(scene.shape, scene.size) == (shape, size) for scene in known]
        return sum((scene.shape, scene.size) == (shape, size) for scene in shown) / sum(is_meant)

    usual = share(Shape.SQUARE, Size.LARGE)
    assert share(Shape.SQUARE, Size.SMALL) / usual == pytest.approx(2.0, rel=0.25)
    assert share(Shape.CIRCLE, Size.LARGE) / usual == pytest.approx(2.0, rel=0.25)
    assert share(Shape.CIRCLE, Size.SMALL) / usual == pytest.approx(4.0, rel=0.25)
