"""The technique sd_embed as we do it: A1111's weights, and prompts in chunks."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prompting import alone, encoded_prompts, encoders
from torch import Tensor

from engine_worker.engine.networks.components import Components, SdText
from engine_worker.engine.prompts.embedding_tokens import EmbeddingTokens
from engine_worker.engine.prompts.reader import make_readers
from kernel.protocol.enums import PromptTechnique
from kernel.protocol.errors import JobRejected
from kernel.protocol.prompt_syntax.a1111 import parse

pytestmark = pytest.mark.torch

TECHNIQUE = PromptTechnique.SD_EMBED
START, END = 49406, 49407


def weighted(parts: Components, prompt: str, clip_skip: int | None = None) -> Tensor:
    return alone(parts, prompt, technique=TECHNIQUE, clip_skip=clip_skip)


@torch.inference_mode()
def reference(parts: Components, chunks: list[list[int]], weights: list[list[float]]) -> Tensor:
    """The technique once more, with nothing of the engine but its networks."""
    pads = [END] if isinstance(parts.text, SdText) else [END, 0]
    found = []
    for encoder, pad in zip(encoders(parts), pads, strict=True):
        rows = []
        for chunk, of_chunk in zip(chunks, weights, strict=True):
            tokens = [START, *chunk, END, *[pad] * (75 - len(chunk))]
            output = encoder(torch.tensor([tokens]), output_hidden_states=True)
            rows.append(output.last_hidden_state[0] if len(pads) == 1 else output.hidden_states[-2][0])
            for position, weight in enumerate(of_chunk, start=1):
                rows[-1][position] *= weight
        found.append(torch.cat(rows))
    return torch.cat(found, dim=-1)


@pytest.mark.parametrize("prompt", ["a red ball", "", "a " * 75, "Hello,  World 42!"])
def test_a_prompt_of_one_chunk_without_weights_is_what_it_is_without_the_technique(
    prompt: str, parts: Components
) -> None:
    assert torch.equal(weighted(parts, prompt), alone(parts, prompt))
    assert torch.equal(weighted(parts, f"({prompt}:1)"), alone(parts, prompt))
    assert torch.equal(weighted(parts, prompt, clip_skip=2), alone(parts, prompt, clip_skip=2))


def test_what_comes_of_a_word_is_multiplied_by_its_weight_and_of_the_others_not(parts: Components) -> None:
    plain, made = alone(parts, "a red ball"), weighted(parts, "a (red:1.5) ball")
    assert torch.allclose(made[2], plain[2] * 1.5, rtol=1e-6)
    assert torch.equal(torch.cat([made[:2], made[3:]]), torch.cat([plain[:2], plain[3:]]))
    less = weighted(parts, "a [red] ball")
    assert torch.allclose(less[2], plain[2] / 1.1, rtol=1e-6)


def test_long_prompts_with_weights_are_what_the_formula_says(parts: Components) -> None:
    a, red, ball = 320, 736, 1069
    prompt = "a " * 73 + "(red ball red:1.3) a [[ball]] BREAK (a red) ball"
    chunks = [[a] * 73 + [red, ball], [red, a, ball], [a, red, ball]]
    weights = [[1.0] * 73 + [1.3, 1.3], [1.3, 1.0, 1 / 1.21], [1.1, 1.1, 1.0]]
    made = weighted(parts, prompt)
    assert made.shape[0] == 3 * 77
    torch.testing.assert_close(made, reference(parts, chunks, weights), rtol=1e-5, atol=1e-5)


def test_a_break_at_the_end_begins_nothing_and_one_at_the_beginning_an_empty_chunk(parts: Components) -> None:
    assert torch.equal(weighted(parts, "a ball BREAK "), alone(parts, "a ball"))
    empty, ball = alone(parts, ""), alone(parts, "a ball")
    torch.testing.assert_close(weighted(parts, "BREAK a ball"), torch.cat([empty, ball]), rtol=0, atol=1e-5)


def test_the_shorter_of_prompt_and_negative_prompt_goes_on_with_chunks_that_say_nothing(
    parts: Components,
) -> None:
    made = encoded_prompts(parts, "a ball", "blue " * 100, technique=TECHNIQUE).conditioning.embeds
    assert made.shape[:2] == (2, 2 * 77)
    assert torch.equal(made[1], torch.cat([alone(parts, "a ball"), alone(parts, "")]))
    turned = encoded_prompts(parts, "blue " * 100, "a ball", technique=TECHNIQUE).conditioning.embeds
    assert torch.equal(turned, made.flip(0))


def test_the_pooled_embedding_is_that_of_the_first_chunk(parts: Components) -> None:
    made = encoded_prompts(parts, "a " * 75 + "ball", "x", technique=TECHNIQUE).conditioning.pooled
    first = encoded_prompts(parts, "a " * 75, "x").conditioning.pooled
    assert (made is None) is (first is None) is isinstance(parts.text, SdText)
    if made is not None and first is not None:
        torch.testing.assert_close(made, first, rtol=0, atol=1e-5)


def test_a_prompt_of_a_thousand_words_is_encoded_whole_and_without_a_warning(parts: Components) -> None:
    made = encoded_prompts(parts, "ball " * 1000, "x", technique=TECHNIQUE)
    assert made.conditioning.embeds.shape[1] == 14 * 77
    assert made.warnings == ()


def test_exclamation_marks_which_the_encoders_of_sdxl_read_differently_are_no_obstacle(
    parts: Components,
) -> None:
    assert weighted(parts, "what!! a ball!! " * 15).shape[0] % 77 == 0


@pytest.mark.parametrize("prompt", ["(a:101)", "(a:-101)", "(" * 80 + "a", "((" * 9000 + "(a:0)"])
def test_a_weight_beyond_measure_is_refused(prompt: str, parts: Components) -> None:
    with pytest.raises(JobRejected, match="weights must be at most"):
        weighted(parts, prompt)


def test_a_prompt_with_more_chunks_than_can_be_encoded_is_refused_by_its_field(parts: Components) -> None:
    with pytest.raises(
        JobRejected, match=r"^negative_prompt: too long: 65 chunks of 75 tokens; the limit is 64 chunks"
    ):
        encoded_prompts(parts, "a ball", "ball " * 4_801, technique=TECHNIQUE)


@pytest.mark.parametrize("technique", PromptTechnique)
def test_a_prompt_of_megabytes_is_refused_before_anything_is_read(
    technique: PromptTechnique, parts: Components
) -> None:
    with pytest.raises(
        JobRejected, match=r"^prompt: must have at most [0-9,]+ characters .*, not 2,000,000$"
    ):
        encoded_prompts(parts, "a ball, " * 250_000, technique=technique)


@pytest.fixture
def spell(parts: Components) -> Callable[[str], tuple[list[int], list[int]]]:
    """The tokens of a text as this technique reads it, and as the tokenizer alone does."""
    (reader, *_) = make_readers(parts, [EmbeddingTokens([])] * len(encoders(parts)), None)

    def both(text: str) -> tuple[list[int], list[int]]:
        (fragments,) = parse(text)
        read = [token for one in fragments for token in reader.tokens(one.text)]
        return read, reader.tokenizer.encode(text, verbose=False)[1:-1]

    return both


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\\()[]"), max_size=40).filter(
        lambda t: "BREAK" not in t
    )
)
def test_text_without_syntax_gives_the_tokenizers_own_tokens(
    text: str, spell: Callable[[str], tuple[list[int], list[int]]]
) -> None:
    read, plain = spell(text)
    assert read == plain
