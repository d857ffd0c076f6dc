"""The names of the code are the field's terms; words that were ours alone do not come back (ADR 0044)."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source_files import ROOT

RETIRED = {
    "anteroom": "preprocessing",
    "appetite": "memory demand",
    "berth": "target",
    "blueprint": "layout",
    "canvas": "init image",
    "chronicle": "event log",
    "colour": "color",
    "companion": "API process",
    "crew": "worker registry",
    "doom": "terminate",
    "doomed": "terminating",
    "hearsay": "worker texts",
    "lexicon": "embedding tokens",
    "logbook": "log",
    "mailbox": "pollable queue",
    "newcomer": "new sample",
    "rehearsal": "dry run",
    "rehearse": "dry run",
    "shelf": "cache",
    "shelves": "storage folders",
    "studio": "engine core",
    "wardrobe": "LoRA manager",
    "workshop": "engine resources",
    "worn": "active",
}
"""Each with the term that took its place; see docs/glossary.md."""
RETIRED_NAMES = {
    "finding": "result",
    "findings": "results",
    "lane": "thread pool",
    "lanes": "thread pools",
    "picture": "image",
    "pictures": "images",
    "seat": "slot",
    "seats": "slots",
}
"""Words that texts may use, but names do not."""
OF_THE_BUS = frozenset({"PictureOrder", "pictures"})
"""Names of messages and their fields."""
PACKAGES = ("api", "conf", "engine_worker", "kernel")
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


def modules() -> list[Path]:
    return [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]


def words_of(name: str) -> set[str]:
    """The words that a name is made of: `_NextLane` and `next_lanes` are of `next` and `lane(s)`."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_in(file: Path) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.NAME:
            yield token.string


@pytest.mark.parametrize("word", ["_NextCrew", "crew_size", "THE_CREW", "crew"])
def test_words_are_found_in_names(word: str) -> None:
    assert "crew" in words_of(word)


def test_no_retired_word_is_a_name() -> None:
    wrong = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in modules()
        for name in {*names_in(file), *file.relative_to(ROOT).with_suffix("").parts}
        if words_of(name) & RETIRED.keys()
    }
    assert wrong == set()


def test_no_word_that_only_texts_may_use_is_a_name() -> None:
    wrong = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in modules()
        for name in {*names_in(file), *file.relative_to(ROOT).with_suffix("").parts} - OF_THE_BUS
        if words_of(name) & RETIRED_NAMES.keys()
    }
    assert wrong == set()


@pytest.mark.parametrize("file", [*modules(), *PAGES], ids=lambda file: str(file.relative_to(ROOT)))
def test_no_retired_word_is_in_a_text(file: Path) -> None:
    found = set(re.findall(r"[a-z]+", file.read_text(encoding="utf-8").lower())) & RETIRED.keys()
    assert found == set()
