"""Captions say what they claim to say, and never in a phrasing that is held out."""

import numpy as np
import pytest

from training.captions import (
    EVERYTHING,
    SYNONYMS,
    Attribute,
    held_out_phrasings,
    phrasings,
    say,
    training_caption,
    training_phrasings,
)
from training.scenes import Colour, Place, Scene, Shape, Size, training_scenes

SCENE = Scene(Shape.TRIANGLE, Colour.PURPLE, Colour.GREEN, Place.BOTTOM, Size.LARGE)


def test_every_phrasing_is_either_trained_on_or_held_out() -> None:
    trained, held_out = set(training_phrasings()), set(held_out_phrasings())
    assert not trained & held_out
    assert trained | held_out == set(phrasings())


def test_no_held_out_sentence_is_also_a_training_sentence() -> None:
    trained = {say(SCENE, phrasing) for phrasing in training_phrasings()}
    held_out = [say(SCENE, phrasing) for phrasing in held_out_phrasings()]
    assert not trained.intersection(held_out)


@pytest.mark.parametrize("field", [attribute.value for attribute in Attribute])
def test_every_phrasing_says_everything(field: str) -> None:
    word = getattr(SCENE, field).value
    assert all(word in say(SCENE, phrasing) for phrasing in phrasings())


def test_a_caption_leaves_out_what_it_does_not_say() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        caption = training_caption(SCENE, rng)
        for attribute in EVERYTHING - caption.said:
            word = getattr(SCENE, attribute.value).value
            assert not any(name in caption.text for name in (word, *SYNONYMS.get(word, ())))


def test_a_caption_says_only_what_is_sayable() -> None:
    rng = np.random.default_rng(0)
    sayable = frozenset({Attribute.PLACE})
    assert all(training_caption(SCENE, rng, sayable).said <= sayable for _ in range(100))


def test_captions_are_tidy() -> None:
    rng = np.random.default_rng(0)
    known = training_scenes()
    for _ in range(500):
        text = training_caption(known[rng.integers(len(known))], rng).text
        assert text == " ".join(text.split())
        assert ",," not in text
        assert not text.startswith(",")
        assert not text.endswith(",")


def test_the_same_seed_writes_the_same_captions() -> None:
    first, second = (
        [training_caption(SCENE, rng) for _ in range(20)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    assert first == second
