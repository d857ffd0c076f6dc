"""The tokenizer that is built from a vocabulary, prompts without any technique, and the job's warnings."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from prompting import CallCounter, alone, encoded_prompts, prompt_order
from transformers import CLIPTextModel

from engine_worker.engine.adapters.lora_file import Lora
from engine_worker.engine.adapters.lora_manager import NO_ADAPTERS, ActiveLora, AdapterSet
from engine_worker.engine.networks.components import Components
from engine_worker.engine.networks.tokenizer import make_tokenizer
from engine_worker.engine.prompts.prompt_encoder import EncodedPrompts, PromptEncoder
from engine_worker.formats.allowed_paths import opened
from engine_worker.formats.checkpoint_layout import TokenizerPlan
from kernel.protocol.enums import ModelBase, PromptTechnique
from kernel.protocol.errors import JobRejected
from kernel.protocol.ids import ModelId
from kernel.protocol.specs import JobOrder

if TYPE_CHECKING:
    from bench.stock import Stock

pytestmark = pytest.mark.torch

# Token numbers as OpenAI's CLIP has them.
KNOWN = {
    "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
    "": [49406, 49407],
    "Hello, World 42!": [49406, 3306, 267, 1002, 275, 273, 256, 49407],
}
LONG = "a red ball on a green table, " * 20


@pytest.mark.parametrize("text", list(KNOWN))
def test_the_vocabulary_gives_clips_own_numbers(text: str) -> None:
    assert make_tokenizer(TokenizerPlan()).encode(text, verbose=False) == KNOWN[text]


def test_a_folder_with_a_vocabulary_and_merges_gives_the_same_tokenizer(tmp_path: Path) -> None:
    built = make_tokenizer(TokenizerPlan())
    state = json.loads(built.backend_tokenizer.to_str())["model"]  # type: ignore[attr-defined]
    (tmp_path / "vocab.json").write_text(json.dumps(state["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    read = make_tokenizer(TokenizerPlan({file.name: opened(file) for file in tmp_path.iterdir()}))
    for text in ("a photo of a cat", "naïve 3,5 € 🦊 ½", "don't  STOP\n<|endoftext|>"):
        assert read.encode(text, verbose=False) == built.encode(text, verbose=False)


@pytest.mark.parametrize("prompt", ["a red ball", "", LONG], ids=["short", "empty", "long"])
@pytest.mark.parametrize("negative_prompt", ["blue", LONG], ids=["short", "long"])
def test_the_conditioning_is_that_of_the_stock_pipeline_to_the_bit(
    prompt: str, negative_prompt: str, parts: Components, stock: "Stock"
) -> None:
    check_conditioning(
        encoded_prompts(parts, prompt, negative_prompt), *stock.encode(prompt, negative_prompt)
    )


@pytest.mark.sampled(10)
@pytest.mark.parametrize("prompt", ["a red ball", "", "a cat, 16:9: <b> {c} |d|!!", "ball " * 75])
@pytest.mark.parametrize("negative_prompt", ["blue", ""])
@pytest.mark.parametrize("technique", [PromptTechnique.SD_EMBED, PromptTechnique.COMPEL])
def test_a_prompt_without_syntax_in_one_chunk_is_encoded_as_by_the_stock_pipeline_by_every_technique(
    technique: PromptTechnique, prompt: str, negative_prompt: str, parts: Components, stock: "Stock"
) -> None:
    made = encoded_prompts(parts, prompt, negative_prompt, technique=technique)
    check_conditioning(made, *stock.encode(prompt, negative_prompt or None))


def check_conditioning(made: EncodedPrompts, embeds: torch.Tensor, pooled: torch.Tensor | None) -> None:
    """The conditioning is this one to the last bit."""
    found = made.conditioning
    assert torch.equal(found.embeds, embeds)
    assert (found.pooled is None) is (pooled is None)
    assert found.pooled is None or (pooled is not None and torch.equal(found.pooled, pooled))


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_a_clip_skip_of_two_is_one_in_the_stock_pipelines_which_count_from_zero(
    clip_skip: int, parts: Components, stock: "Stock", monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stock pipeline of SD looks for a part that CLIPTextModel no longer has since transformers 5.
    monkeypatch.setattr(CLIPTextModel, "text_model", property(lambda encoder: encoder), raising=False)
    made = encoded_prompts(parts, "a red ball", "blue", clip_skip=clip_skip).conditioning
    # The stock pipelines leave the negative prompt out of it; here it is treated as the prompt, as in A1111.
    (embeds, _), (negative, _) = (stock.encode(text, "", clip_skip - 1) for text in ("a red ball", "blue"))
    assert torch.equal(made.embeds, torch.stack([negative[1], embeds[1]]))


def test_no_clip_skip_is_a_clip_skip_of_one(parts: Components) -> None:
    assert torch.equal(alone(parts, "a red ball"), alone(parts, "a red ball", clip_skip=1))
    assert not torch.equal(alone(parts, "a red ball"), alone(parts, "a red ball", clip_skip=2))


@pytest.mark.parametrize("clip_skip", [0, 3])
def test_a_clip_skip_without_such_a_layer_is_refused_with_the_number_there_are(
    clip_skip: int, parts: Components
) -> None:
    with pytest.raises(JobRejected, match="has 2 layers"):
        encoded_prompts(parts, "a red ball", clip_skip=clip_skip)


def test_a_short_prompt_gives_no_warning(parts: Components) -> None:
    assert encoded_prompts(parts, "a " * 75).warnings == ()


def test_a_long_prompt_gives_a_warning_that_names_what_was_lost(parts: Components) -> None:
    (warning,) = encoded_prompts(parts, "a " * 75 + "purple hat").warnings
    assert warning.startswith("the prompt has 77 tokens, but only the first 75 are used")
    assert "'purple hat'" in warning


def test_a_long_negative_prompt_is_of_interest_only_where_it_counts(parts: Components) -> None:
    (warning,) = encoded_prompts(parts, "", "blue " * 100, guidance_scale=5.0).warnings
    assert warning.startswith("the negative prompt")
    assert encoded_prompts(parts, "", "blue " * 100, guidance_scale=1.0).warnings == ()


def test_weights_that_are_taken_for_plain_text_are_said_to_be(parts: Components) -> None:
    (warning,) = encoded_prompts(parts, "a (red:1.3) ball").warnings
    assert "'(red:1.3)'" in warning
    assert "sd_embed" in warning
    assert encoded_prompts(parts, "a (red:1.3) ball", technique=PromptTechnique.SD_EMBED).warnings == ()


@pytest.mark.parametrize("technique", list(PromptTechnique))
def test_lora_tags_are_not_encoded(technique: PromptTechnique, parts: Components) -> None:
    tagged, negative = "a red <lora:ink:0.8>ball", "<lora:ink:1>"
    made = encoded_prompts(parts, tagged, negative, technique=technique, lora_tags=True)
    assert torch.equal(made.conditioning.embeds, encoded_prompts(parts, "a red ball").conditioning.embeds)
    (warning,) = made.warnings
    assert warning == "<lora:ink:1> has no effect in the negative prompt, and is left out of it"
    (warning,) = encoded_prompts(parts, tagged, technique=technique).warnings
    assert "seems to contain an A1111 LoRA tag, but '<lora:ink:0.8>' is treated as plain text" in warning


def test_a_negative_prompt_that_changes_has_a_conditioning_for_each_call(parts: Components) -> None:
    technique = PromptTechnique.SD_EMBED
    made = encoded_prompts(parts, "a [(red:1.2)::1] ball", "[[blue|]:2]", technique=technique)
    prompts = ["a (red:1.2) ball"] * 2 + ["a  ball"] * 2
    negatives = ["", "", "", "blue"]
    for found, prompt, negative in zip(made.by_call, prompts, negatives, strict=True):
        expected = encoded_prompts(parts, prompt, negative, technique=technique).conditioning
        assert torch.equal(found.embeds, expected.embeds)
        assert found.pooled is None or torch.equal(found.pooled, expected.pooled)
    assert made.warnings == ()


def test_and_in_the_negative_prompt_is_text_and_too_many_are_refused(parts: Components) -> None:
    technique = PromptTechnique.SD_EMBED
    (warning,) = encoded_prompts(parts, "a ball", "blue AND red", technique=technique).warnings
    assert "the negative prompt seems to contain A1111 composition" in warning
    made = encoded_prompts(parts, "a AND b:2 AND c", "", guidance_scale=1.0, technique=technique).conditioning
    assert (made.rows, made.weights) == (4, (1.0, 2.0, 1.0))
    for prompt, says in (("a AND " * 8, "AND joins 9 prompts"), ("a AND b:101", "must be at most 100")):
        with pytest.raises(JobRejected, match=f"^prompt: .*{says}"):
            encoded_prompts(parts, prompt, technique=technique)


def test_texts_of_a_prompt_that_changes_are_padded_to_the_longest(parts: Components) -> None:
    made = encoded_prompts(parts, f"[a:{LONG}:1]", technique=PromptTechnique.SD_EMBED)
    assert {found.embeds.shape[1] for found in made.by_call} == {3 * 77}


@pytest.mark.parametrize("text", ["[a:b:0.5]", "[a|b]", "a AND b", "<hypernet:a:1>"])
@pytest.mark.parametrize("technique", list(PromptTechnique))
def test_what_a_technique_does_not_read_gives_a_warning_that_quotes_it(
    technique: PromptTechnique, text: str, parts: Components
) -> None:
    warnings = encoded_prompts(parts, text, technique=technique).warnings
    is_read = technique is PromptTechnique.SD_EMBED and not text.startswith("<")
    assert [("plain text" in one) for one in warnings] == ([] if is_read else [True])


def test_a_prompt_that_was_encoded_is_not_encoded_again(parts: Components) -> None:
    prompt_encoder = PromptEncoder(parts)
    asked = prompt_order("a red ball " * 30, "blue")
    with CallCounter(parts) as counter:
        first = prompt_encoder.condition(asked)
        once = dict(counter.calls)
        again = prompt_encoder.condition(asked)
        assert dict(counter.calls) == once
        assert set(once.values()) == {2}
        prompt_encoder.condition(prompt_order("a green ball", "blue"))
        assert set(counter.calls.values()) == {3}
    assert torch.equal(first.conditioning.embeds, again.conditioning.embeds)
    assert again.warnings == first.warnings != ()


def test_what_decides_the_embedding_is_what_it_is_remembered_by(parts: Components) -> None:
    def active(weight: float) -> AdapterSet:
        return AdapterSet((ActiveLora((ModelId("lora"), "sha"), weight, Lora({}, ())),))

    plain = prompt_order("a ball", guidance_scale=1.0)
    settings: list[tuple[JobOrder, AdapterSet]] = [
        (plain, NO_ADAPTERS),
        (prompt_order("a ball", guidance_scale=1.0, clip_skip=2), NO_ADAPTERS),
        (prompt_order("a ball", guidance_scale=1.0, technique=PromptTechnique.COMPEL), NO_ADAPTERS),
        (plain, active(0.5)),
        (plain, active(0.6)),
    ]
    prompt_encoder = PromptEncoder(parts)
    for asked, loras in settings:
        with CallCounter(parts) as counter:
            prompt_encoder.condition(asked, loras)
            assert counter.calls[0] == 1
            prompt_encoder.condition(asked, loras)
            assert counter.calls[0] == 1


def test_a_memory_without_room_encodes_every_time(parts: Components) -> None:
    prompt_encoder = PromptEncoder(parts, cache_bytes=0)
    with CallCounter(parts) as counter:
        for _ in range(2):
            prompt_encoder.condition(prompt_order("a ball", guidance_scale=1.0))
        assert counter.calls[0] == 2


def test_an_empty_negative_prompt_of_sdxl_is_zeros_as_long_as_the_prompt(parts: Components) -> None:
    made = encoded_prompts(parts, LONG, technique=PromptTechnique.SD_EMBED).conditioning
    assert made.embeds.shape[1] == 3 * 77
    if parts.base is ModelBase.SDXL:
        assert made.pooled is not None
        assert not made.embeds[0].any()
        assert not made.pooled[0].any()
        assert made.pooled[1].all()
    else:
        assert made.embeds[0].any()
