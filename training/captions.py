"""Says scenes in words: many phrasings, some of them kept from training, and captions that leave things
unsaid.

A phrasing is one choice for each part of a caption (the subject, the background, the place) and the parts'
order. What a caption leaves unsaid is drawn by chance, so the model learns that a short prompt leaves it
free.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np

from training.scenes import Colour, Place, Scene, Shape, Size

HELD_OUT_SHARE = 0.1
"""Of all phrasings; they are kept for the evaluation."""
FULL_SHARE = 0.75
"""Of the training captions say everything; each of the others says each thing with a chance of a half."""
SYNONYM_SHARE = 0.25
FILLER_SHARE = 0.15

SUBJECTS = (
    "{size} {colour} {shape}",
    "{colour} {shape}, {size}",
    "{colour} {shape} of {size} size",
    "{size} {shape} in {colour}",
    "{colour} {size} {shape}",
    "{shape}, {size}, {colour}",
    "{size} {shape}, colored {colour}",
)
BACKGROUNDS = (
    "on a {background} background",
    "on {background}",
    "against a {background} background",
    "over {background}",
    "with a {background} background",
    "{background} background",
    "the background is {background}",
    "background: {background}",
)
PLACES = (
    "{place}",
    "on the {place}",
    "at the {place}",
    "{place} side",
    "in the {place}",
    "placed at the {place}",
)
ORDERS = (
    "{subject} {background}, {place}",
    "{subject}, {place}, {background}",
    "{background}, {subject}, {place}",
    "{place}, {subject} {background}",
    "{subject} {place} {background}",
    "{subject}, {background}, {place}",
)
OPENINGS = (
    "",
    "",
    "",
    "a",
    "a",
    "a picture of a",
    "a drawing of a",
    "an image of a",
    "there is a",
    "draw a",
    "one",
)
FILLERS = (
    "simple",
    "flat colors",
    "high quality",
    "minimal",
    "clean edges",
    "vector art",
    "nice",
    "illustration",
)

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "circle": ("disc", "disk", "round shape"),
    "square": ("box", "square shape"),
    "triangle": ("triangle shape",),
    "star": ("five pointed star", "star shape"),
    "purple": ("violet",),
    "small": ("little", "tiny"),
    "large": ("big", "huge"),
    "center": ("middle", "centre"),
    "top": ("upper part",),
    "bottom": ("lower part",),
    "left": ("left half",),
    "right": ("right half",),
}


class Attribute(Enum):
    """What a caption can say; the value is the name of the scene's field."""

    SHAPE = "shape"
    COLOUR = "colour"
    BACKGROUND = "background"
    PLACE = "place"
    SIZE = "size"


EVERYTHING = frozenset(Attribute)


@dataclass(frozen=True, slots=True)
class Phrasing:
    """One choice for each part of a caption."""

    subject: str
    background: str
    place: str
    order: str

    def is_held_out(self) -> bool:
        """Tell whether this phrasing is kept from training."""
        words = "|".join((self.subject, self.background, self.place, self.order))
        return hashlib.sha256(words.encode()).digest()[0] < 256 * HELD_OUT_SHARE


def phrasings() -> Iterator[Phrasing]:
    """Give every phrasing, in one fixed order."""
    return itertools.starmap(Phrasing, itertools.product(SUBJECTS, BACKGROUNDS, PLACES, ORDERS))


@cache
def training_phrasings() -> tuple[Phrasing, ...]:
    """Give the phrasings that training uses."""
    return tuple(phrasing for phrasing in phrasings() if not phrasing.is_held_out())


@cache
def held_out_phrasings() -> tuple[Phrasing, ...]:
    """Give the phrasings that only the evaluation uses."""
    return tuple(phrasing for phrasing in phrasings() if phrasing.is_held_out())


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption, and what of the scene it says."""

    text: str
    said: frozenset[Attribute]


def training_caption(
    scene: Scene, rng: np.random.Generator, sayable: frozenset[Attribute] = EVERYTHING
) -> Caption:
    """Say the scene, or some of it, in a phrasing that training may use; nothing but what is sayable."""
    said = (EVERYTHING if rng.random() < FULL_SHARE else _some(rng)) & sayable
    phrasing = training_phrasings()[rng.integers(len(training_phrasings()))]
    words = {field: _synonym(word, rng) for field, word in _words(scene).items()}
    text = _say(words, phrasing, said)
    opening = OPENINGS[rng.integers(len(OPENINGS))] if text.startswith(tuple(_openable(words))) else ""
    filler = f", {FILLERS[rng.integers(len(FILLERS))]}" if rng.random() < FILLER_SHARE else ""
    return Caption(f"{opening} {text}{filler}".strip(" ,"), said)


def say(scene: Scene, phrasing: Phrasing) -> str:
    """Say everything of the scene in plain words."""
    return _say(_words(scene), phrasing, EVERYTHING)


def _words(scene: Scene) -> dict[str, str]:
    things: tuple[Shape | Colour | Place | Size, ...]
    things = (scene.shape, scene.colour, scene.background, scene.place, scene.size)
    return {attribute.value: thing.value for attribute, thing in zip(Attribute, things, strict=True)}


def _some(rng: np.random.Generator) -> frozenset[Attribute]:
    """Choose what to say; perhaps nothing at all."""
    return frozenset(attribute for attribute in Attribute if rng.random() < 0.5)


def _synonym(word: str, rng: np.random.Generator) -> str:
    others = SYNONYMS.get(word, ())
    return others[rng.integers(len(others))] if others and rng.random() < SYNONYM_SHARE else word


def _openable(words: Mapping[str, str]) -> Iterator[str]:
    """Give the words before which "a picture of a" reads well."""
    return (words[field] for field in ("size", "colour", "shape"))


def _say(words: Mapping[str, str], phrasing: Phrasing, said: frozenset[Attribute]) -> str:
    parts = {"subject": _say_subject(words, phrasing, said)}
    parts["background"] = phrasing.background.format_map(words) if Attribute.BACKGROUND in said else ""
    parts["place"] = phrasing.place.format_map(words) if Attribute.PLACE in said else ""
    return _tidy(phrasing.order.format_map(parts))


def _say_subject(words: Mapping[str, str], phrasing: Phrasing, said: frozenset[Attribute]) -> str:
    """Say size, color and shape; in the plainest pattern unless all three are said."""
    spoken = {attribute.value: words[attribute.value] if attribute in said else "" for attribute in Attribute}
    is_whole = all(spoken[field] for field in ("size", "colour", "shape"))
    if (spoken["size"] or spoken["colour"]) and not spoken["shape"]:
        spoken["shape"] = "shape"
    return (phrasing.subject if is_whole else SUBJECTS[0]).format_map(spoken)


def _tidy(text: str) -> str:
    """Drop the commas and spaces that empty parts left behind."""
    parts = (" ".join(part.split()) for part in text.split(","))
    return ", ".join(part for part in parts if part)
