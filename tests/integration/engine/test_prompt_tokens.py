"""The API counts tokens exactly as the engine has them, although it imports none of what the engine uses."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from api.http.prompt_tokens.counting import Counter, Reading, Word, read_prompt
from api.http.prompt_tokens.vocabularies import NOT_CLIPS, Vocabularies
from engine_worker.engine.networks.tokenizer import make_tokenizer
from engine_worker.engine.prompts.clip import Layer
from engine_worker.engine.prompts.embedding_tokens import EmbeddingToken, EmbeddingTokens
from engine_worker.engine.prompts.reader import ClipReader
from engine_worker.engine.prompts.weighted import _chunks
from engine_worker.formats.allowed_paths import open_file
from engine_worker.formats.checkpoint_layout import TokenizerPlan
from kernel.protocol.enums import ModelBase, PromptTechnique
from kernel.protocol.prompt_syntax.a1111 import parse
from kernel.protocol.prompts import places_without_lora_tags, without_lora_tags

pytestmark = pytest.mark.torch

VOCABULARIES = Vocabularies()
PADS = ["<|endoftext|>", "!"]
PIECES = [
    *"()[]\\:., !'\n", "a", " red", "cat", "BREAK", " BREAK ", ":1.3)", "(red:1.2)", "((", "\\(", "!!",
    "<lora:a:0.5>", "<LoRA:b>", "dusk", "Dusk", "é", "Ⅷ", "ﬁ", "İ", "日本", "👩\u200d🎨", "\u0301",
    "\t", "123", "it's", "<|endoftext|>", "supercalifragilistic", "word " * 30,
]  # fmt: skip
WRITTEN = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=40).map("".join)
WORD = Word(("dusk", "other"), 3)
SD_EMBED = Reading(PromptTechnique.SD_EMBED, True, 20)


def tokenizers() -> tuple[object, ...]:
    found = VOCABULARIES.of_files(ModelBase.SDXL)
    assert not isinstance(found, str), found
    return found


def reader(pad: str) -> ClipReader:
    words = EmbeddingTokens([EmbeddingToken(WORD.names, torch.zeros(3, 4))])
    tokenizer = make_tokenizer(TokenizerPlan(pad_token=pad))
    return ClipReader(tokenizer, None, words, Layer(1, is_normed=True), torch.device("cpu"), torch.float32)


def is_one_text(prompt: str) -> bool:
    """False for a prompt that may change over the steps, or be several."""
    return "AND" not in prompt and "|" not in prompt and ":" not in prompt.replace(":1.", "")


@settings(max_examples=150, deadline=None)
@given(text=WRITTEN)
def test_every_text_has_the_same_tokens(text: str) -> None:
    for pad, own in zip(PADS, tokenizers(), strict=True):
        theirs = make_tokenizer(TokenizerPlan(pad_token=pad)).encode(text, verbose=False)[1:-1]
        assert own.encode(text, add_special_tokens=False).ids == theirs


@settings(max_examples=150, deadline=None)
@given(prompt=WRITTEN.filter(is_one_text))
def test_chunks_have_as_many_tokens_as_the_engine_puts_there(prompt: str) -> None:
    for pad, own in zip(PADS, tokenizers(), strict=True):
        found = Counter(own, (WORD,)).count(read_prompt(prompt, SD_EMBED)).chunks
        theirs = _chunks(parse(without_lora_tags(prompt)), reader(pad))
        assert [chunk.tokens for chunk in found] == [len(chunk.tokens) for chunk in theirs]
        placed = [one for one in found if one.begin is not None]
        assert all(one.begin < one.end <= len(prompt) for one in placed)
        assert [one.begin for one in placed] == sorted(one.begin for one in placed)


@settings(max_examples=100, deadline=None)
@given(prompt=WRITTEN)
def test_a_prompt_that_is_cut_off_is_cut_where_the_engine_cuts_it(prompt: str) -> None:
    for pad, own in zip(PADS, tokenizers(), strict=True):
        count = Counter(own, (WORD,)).count(read_prompt(prompt, Reading(PromptTechnique.NONE, False, 20)))
        tokens = reader(pad).tokens(prompt)
        assert [one.tokens for one in count.chunks] == [min(75, len(tokens))]
        assert bool(count.dropped) <= (len(tokens) > 75)


@given(prompt=WRITTEN)
def test_the_places_of_what_tags_leave_are_those_of_its_characters(prompt: str) -> None:
    places = places_without_lora_tags(prompt)
    assert "".join(prompt[place] for place in places) == without_lora_tags(prompt)


def test_chunks_stand_where_their_words_are() -> None:
    prompt = "<lora:a:0.5> (red \\(old\\):1.2) ball BREAK sky AND a hat :0.5"
    count = Counter(tokenizers()[0], ()).count(read_prompt(prompt, SD_EMBED))
    shown = [prompt[one.begin : one.end] for one in count.chunks]
    assert shown == ["red \\(old\\):1.2) ball", "sky", "a hat"]


def test_a_prompt_that_changes_is_counted_at_its_longest() -> None:
    count = Counter(tokenizers()[0], ()).count(read_prompt("a [cat:very old dog:0.5]", SD_EMBED))
    assert [(one.tokens, one.begin) for one in count.chunks] == [(4, None)]


def test_words_that_are_cut_off_are_told() -> None:
    prompt = " ".join(["cat"] * 75 + ["the", "End"])
    count = Counter(tokenizers()[0], ()).count(read_prompt(prompt, Reading(PromptTechnique.NONE, True, 20)))
    assert (count.chunks[0].tokens, count.dropped) == (75, "the End")


@pytest.mark.parametrize("pad", PADS)
def test_a_folder_with_clips_files_counts_and_any_other_does_not(tmp_path: Path, pad: str) -> None:
    for name, one in (("tokenizer", PADS[0]), ("tokenizer_2", pad)):
        make_tokenizer(TokenizerPlan(pad_token=one)).save_pretrained(tmp_path / name)
    found = VOCABULARIES.of_folder(tmp_path, ModelBase.SDXL, (tmp_path,))
    assert not isinstance(found, str), found
    folder = tmp_path / "tokenizer_2"
    files = {file.name: open_file(file, (tmp_path,)) for file in folder.iterdir()}
    theirs = make_tokenizer(TokenizerPlan(files))
    for text in ("wow!!", "a red ball! (!)", "it's 42"):
        assert found[1].encode(text, add_special_tokens=False).ids == theirs.encode(text, verbose=False)[1:-1]
    assert VOCABULARIES.of_folder(tmp_path, ModelBase.SDXL, (tmp_path / "elsewhere",)) == NOT_CLIPS
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["added_tokens"].append(whole["added_tokens"][0] | {"content": "dusk", "id": 49408})
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    assert VOCABULARIES.of_folder(tmp_path, ModelBase.SDXL, (tmp_path,)) == NOT_CLIPS
