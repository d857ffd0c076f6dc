"""LoRAs that are named in the prompt, as in other tools: they become the job's, or the job is refused."""

import pytest
from msgspec.structs import replace

from kernel.core.ports import Limits
from kernel.protocol.enums import ModelBase, ModelState
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import LoraUse
from kernel.protocol.prompts import without_lora_tags
from kernel.protocol.specs import JobSpec
from tests.unit.core.samples import model, submit
from tests.unit.core.story import Story

INK = replace(model("m1"), name="ink")
LORAS = (
    INK,
    replace(model("m2"), name="owner/Detail: v2", uri="file:///models/add%20detail.v2.safetensors"),
    replace(model("m3"), name="twin"),
    replace(model("m4"), name="twin"),
    replace(model("m5"), name="big", model_base=ModelBase.SDXL),
    replace(model("m6"), name="late", status=ModelState.DOWNLOADING),
    replace(model("m7"), name="again", status=ModelState.ERROR, error="gone"),
    replace(model("m8"), name="again"),
)


def use(model_id: str, weight: float = 1.0) -> LoraUse:
    return LoraUse(model_id=ModelId(model_id), weight=weight)


@pytest.fixture
def story() -> Story:
    story = Story(*LORAS)
    story.engine(autostart=False, loras=(use("m1", 0.5), use("m8")))
    return story


def decided(story: Story, prompt: str, **fields: object) -> JobSpec:
    (engine_id,) = story.database.engines
    return story.database.specs[story.submit(engine_id, prompt=prompt, **fields)]


def refused(story: Story, prompt: str, **fields: object) -> tuple[str, str]:
    """The code, and what is said of the prompt."""
    (engine_id,) = story.database.engines
    reply = story.refusal(submit(engine_id, prompt=prompt, **fields))
    (found,) = reply.fields
    assert found.field == "prompt"
    return reply.code, found.problem


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<lora:ink>", use("m1")),
        ("<lora:ink:0.8>", use("m1", 0.8)),
        ("<lyco:ink:-1.5>", use("m1", -1.5)),
        ("<LoRA: ink : 1 >", use("m1")),
        ("<lora:ink:0.8:0.8>", use("m1", 0.8)),
        ("<lora:ink:te=0.8:unet=.8>", use("m1", 0.8)),
        ("<lora:m1:0>", use("m1", 0.0)),
        ("<lora:INK:2>", use("m1", 2.0)),
        ("<lora:owner/Detail_ v2:1>", use("m2")),
        ("<lora:add detail.v2:1>", use("m2")),
        ("<lora:again:1>", use("m8")),
    ],
)
def test_tag_names_a_lora_by_id_name_or_file_with_its_weight(story, tag, expected):
    assert decided(story, f"a cat {tag} in a hat", loras=()).loras == (expected,)


def test_tags_are_added_to_the_engines_loras_and_their_weights_count(story):
    assert decided(story, "a cat <lora:ink:0.8> <lora:add detail.v2>").loras == (
        use("m1", 0.8),
        use("m8"),
        use("m2"),
    )
    assert decided(story, "a cat <lora:ink:0.8>", loras=(use("m2", 0.1),)).loras == (
        use("m2", 0.1),
        use("m1", 0.8),
    )


def test_what_a_job_shows_makes_the_same_job_again(story):
    first = decided(story, "a <lora:ink:0.8> cat <lora:m2:3>")
    assert first.prompt == "a <lora:ink:0.8> cat <lora:m2:3>"
    assert first.lora_tags
    again = decided(story, first.prompt, loras=first.loras, lora_tags=first.lora_tags)
    assert (again.prompt, again.loras, again.lora_tags) == (first.prompt, first.loras, True)


@pytest.mark.parametrize(
    "prompt", ["a cat", "a <dusk> cat", "<lora:>", "<hypernet:ink:1>", "<lora:ink", "lora:ink"]
)
def test_other_text_is_no_tag(story, prompt):
    assert decided(story, prompt).loras == (use("m1", 0.5), use("m8"))
    assert without_lora_tags(prompt) == prompt


def test_tags_are_text_where_job_or_configuration_say_so(story):
    bare = decided(story, "<lora:nobody:1>", lora_tags=False)
    assert (bare.loras, bare.lora_tags) == ((use("m1", 0.5), use("m8")), False)
    strict = Story(*LORAS, limits=Limits(lora_tags=False))
    strict.engine(autostart=False)
    assert decided(strict, "<lora:ink:1>").loras == ()
    assert decided(strict, "<lora:ink:1>", lora_tags=True).loras == (use("m1"),)


def test_tags_of_the_negative_prompt_name_nothing(story):
    assert decided(story, "", loras=(), negative_prompt="<lora:ink:1> <lora:nobody:1>").loras == ()


@pytest.mark.parametrize(
    ("prompt", "code", "says"),
    [
        (
            "<lora:imk:1>",
            "model_missing",
            "<lora:imk:1>: no LoRA has the id or name 'imk'; the nearest are ink; ",
        ),
        ("<lora:zzzzzz:1>", "model_missing", "'zzzzzz'; register it, or set lora_tags to false"),
        ("<lora:twin:1>", "invalid_field", "means several models: use one of the ids m3 (twin, ready); m4"),
        ("<lora:big:1>", "wrong_model_base", "<lora:big:1>: the model is for sdxl"),
        ("<lora:late:1>", "model_not_ready", "<lora:late:1>: the model is still downloading"),
        ("<lora:checkpoint:1>", "wrong_model_type", "the model is of type checkpoint"),
        ("<lora:ink:1> <lora:m1:1>", "invalid_field", "<lora:m1:1> names a LoRA that another tag names"),
        ("<lora:ink:much>", "invalid_field", "'much' is not a weight from -10 to 10"),
        ("<lora:ink:nan>", "invalid_field", "'nan' is not a weight"),
        ("<lora:ink:11>", "invalid_field", "'11' is not a weight"),
        ("<lora:ink:lbw=1>", "invalid_field", "'lbw=1' is not a weight"),
        ("<lora:ink:1:0.5>", "invalid_field", "different weights for text encoder and UNet"),
        ("<lora:ink:1:1:1>", "invalid_field", "more than a name and a weight"),
    ],
)
def test_tag_that_cannot_be_done_is_refused_by_its_words(story, prompt, code, says):
    found, problem = refused(story, f"a cat {prompt}")
    assert found == code
    assert says in problem


def test_tags_count_towards_the_most_loras_of_a_job():
    many = [model(f"many{n}") for n in range(33)]
    story = Story(*many)
    story.engine(autostart=False)
    half = tuple(use(f"many{n}") for n in range(16))
    tags = [f"<lora:many{n}:1>" for n in range(33)]
    assert len(decided(story, "".join(tags[8:32]), loras=half).loras) == 32
    assert "at most 32" in refused(story, "".join(tags[8:]), loras=half)[1]
