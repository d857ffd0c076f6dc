"""The technique compel: the package's own answers, with our encoders behind it."""

from typing import TYPE_CHECKING

import pytest
import torch
from compel import CompelForSD, CompelForSDXL
from prompting import alone, encoded_prompts, encoders

from engine_worker.engine.networks.components import Components
from engine_worker.engine.prompts import compel_prompts
from kernel.protocol.enums import ModelBase, PromptTechnique
from kernel.protocol.errors import JobRejected

if TYPE_CHECKING:
    from bench.stock import Stock

pytestmark = pytest.mark.torch

TECHNIQUE = PromptTechnique.COMPEL
PROMPTS = [
    "a red ball",
    "a red++ ball-- on a (green table)1.3",
    '("a red ball", "a green table").and()',
    '("a red ball", "a green table").and(1, 0.5)',
    '("a red ball", "a green table").blend(0.7, 0.3)',
    "a red ball. On a (green)0.5 table, " * 12,
    "what!! a ball!! " * 15,
    r"a \(red\) ball (big)-",
]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_are_what_compel_makes_of_them_on_the_stock_pipeline(
    prompt: str, parts: Components, stock: "Stock"
) -> None:
    make = CompelForSD if parts.base is ModelBase.SD else CompelForSDXL
    if parts.base is ModelBase.SDXL and ".and(1" in prompt:
        pytest.skip("compel 2.5.1 fails at weighted parts for SDXL; here they work")
    expected = make(stock.pipeline)(prompt, negative_prompt="blue")
    made = encoded_prompts(parts, prompt, "blue", technique=TECHNIQUE).conditioning
    assert torch.equal(made.embeds, torch.cat([expected.negative_embeds, expected.embeds]))
    if made.pooled is not None:
        assert torch.equal(made.pooled, torch.cat([expected.negative_pooled_embeds, expected.pooled_embeds]))


@pytest.mark.parametrize("prompt", ["a red ball", "", "()", "a, b. c: d", "a photo (of a ball)", "'s 42!"])
@pytest.mark.parametrize("clip_skip", [None, 2])
def test_without_weights_it_is_what_it_is_without_the_technique(
    prompt: str, clip_skip: int | None, parts: Components
) -> None:
    plain = prompt.replace("(", "").replace(")", "")
    made = alone(parts, prompt, technique=TECHNIQUE, clip_skip=clip_skip)
    assert torch.equal(made, alone(parts, plain, clip_skip=clip_skip))


def test_long_prompts_are_encoded_whole(parts: Components) -> None:
    made = encoded_prompts(parts, "ball " * 200, "blue", technique=TECHNIQUE)
    assert made.conditioning.embeds.shape[:2] == (2, 3 * 77)
    assert made.warnings == ()


@pytest.mark.parametrize("prompt", ["()0.5 a ball", '""0.1 a ball', "(\t)0.5 a ball", '(a ball ""-)'])
def test_nothing_weighted_down_is_nothing(prompt: str, parts: Components) -> None:
    assert torch.equal(alone(parts, prompt, technique=TECHNIQUE), alone(parts, "a ball"))


def test_a_conjunction_with_weights_works_for_both_bases(parts: Components) -> None:
    made = alone(parts, '("a red ball", "a green table").and(1, 0.5)', technique=TECHNIQUE)
    table, empty = alone(parts, "a green table"), alone(parts, "")
    torch.testing.assert_close(made[77:], empty + (table - empty) * 0.5)


@pytest.mark.parametrize(
    ("prompt", "what"), [("a cat.swap(dog) here", "a .swap()"), ("withLora(dusk, 1) a ball", "a withLora()")]
)
def test_what_comes_to_nothing_is_said(prompt: str, what: str, parts: Components) -> None:
    (warning,) = encoded_prompts(parts, prompt, technique=TECHNIQUE).warnings
    assert what in warning


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ('("a", "b").blend(1)', "mismatched"),
        ('("a", "b").blend(1, -1)', "add up to 0"),
        ("(" * 60 + "a" + ")" * 60, "nested too deeply"),
        ("(a (b (c", "never closed"),
        ("a" * 5_001, "must have at most 5,000 characters with long_prompt_technique compel, not 5,001"),
        ("(" + ", ".join(['"a"'] * 65) + ").and()", "too long: 65 chunks of 75 tokens"),
    ],
)
def test_a_prompt_that_compel_cannot_read_is_refused_with_the_reason(
    prompt: str, why: str, parts: Components
) -> None:
    with pytest.raises(JobRejected, match=f"^prompt: .*{why}"):
        encoded_prompts(parts, prompt, technique=TECHNIQUE)


def test_a_prompt_that_is_read_again_and_again_for_its_weights_is_refused(
    parts: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compel_prompts, "MAX_READINGS", 6)
    assert alone(parts, "a (red)0.9 ball", technique=TECHNIQUE).shape[0] == 77
    with pytest.raises(JobRejected, match=r"^prompt: takes more than 6 passes .* use fewer weights below 1"):
        alone(parts, "a (red)0.9 ball " * 6, technique=TECHNIQUE)


def test_the_encoders_are_left_as_they_were(parts: Components) -> None:
    before = [
        (name, held.clone()) for encoder in encoders(parts) for name, held in encoder.state_dict().items()
    ]
    alone(parts, "a (red)1.5 (ball)0.5", technique=TECHNIQUE, clip_skip=2)
    after = [(name, held) for encoder in encoders(parts) for name, held in encoder.state_dict().items()]
    assert [name for name, _ in before] == [name for name, _ in after]
    assert all(torch.equal(held, now) for (_, held), (_, now) in zip(before, after, strict=True))
