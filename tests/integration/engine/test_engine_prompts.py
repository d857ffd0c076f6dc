"""The tokenizer that is built from a vocabulary, and what is said of prompts that are too long."""

import json
from pathlib import Path

import pytest
from small_engine import spec

from engine_worker.engine.blueprint import TokenizerPlan
from engine_worker.engine.parts import Parts
from engine_worker.engine.prompts import truncation_warnings
from engine_worker.engine.tokenizer import make_tokenizer

pytestmark = pytest.mark.torch

# Token numbers as OpenAI's CLIP has them.
KNOWN = {
    "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
    "": [49406, 49407],
    "Hello, World 42!": [49406, 3306, 267, 1002, 275, 273, 256, 49407],
}


@pytest.mark.parametrize("text", list(KNOWN))
def test_the_vocabulary_gives_clips_own_numbers(text: str) -> None:
    assert make_tokenizer(TokenizerPlan()).encode(text, verbose=False) == KNOWN[text]


def test_a_folder_with_a_vocabulary_and_merges_gives_the_same_tokenizer(tmp_path: Path) -> None:
    built = make_tokenizer(TokenizerPlan())
    state = json.loads(built.backend_tokenizer.to_str())["model"]  # type: ignore[attr-defined]
    (tmp_path / "vocab.json").write_text(json.dumps(state["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    read = make_tokenizer(TokenizerPlan(tmp_path))
    for text in ("a photo of a cat", "naïve 3,5 € 🦊 ½", "don't  STOP\n<|endoftext|>"):
        assert read.encode(text, verbose=False) == built.encode(text, verbose=False)


def test_a_short_prompt_gives_no_warning(parts: Parts) -> None:
    assert truncation_warnings(parts, spec(prompt="a " * 75)) == ()


def test_a_long_prompt_gives_a_warning_that_names_what_was_lost(parts: Parts) -> None:
    (warning,) = truncation_warnings(parts, spec(prompt="a " * 75 + "purple hat"))
    assert "77 tokens and 75 are used" in warning
    assert "'purple hat'" in warning


def test_a_long_negative_prompt_is_of_interest_only_where_it_counts(parts: Parts) -> None:
    guided = spec(negative_prompt="blue " * 100, guidance_scale=5.0)
    unguided = spec(negative_prompt="blue " * 100, guidance_scale=1.0)
    (warning,) = truncation_warnings(parts, guided)
    assert warning.startswith("The negative prompt")
    assert truncation_warnings(parts, unguided) == ()
