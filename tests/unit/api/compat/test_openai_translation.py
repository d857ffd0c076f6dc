"""Requests of OpenAI's clients become fields of a job, and nothing is ignored in silence."""

from typing import Any

import pytest

from api.http.compat.openai.request_fields import (
    NO_EFFECT,
    OpenAiEdit,
    OpenAiFields,
    OpenAiGeneration,
    OpenAiVariation,
    ResponseFormat,
)
from api.http.compat.openai.translation import GIVE_UP_AFTER_S, Said, Translated, translated
from kernel.protocol.enums import InputKind
from kernel.protocol.errors import InvalidField, wrong_field

FILE = b"a file"


def generation(**fields: Any) -> Translated:
    return translated(OpenAiGeneration, Said({"prompt": "a fox"} | fields, {}, is_strict=True))


def job_of(**fields: Any) -> dict[str, object]:
    """What a generation has besides the prompt."""
    job = generation(**fields).job
    assert job.pop("prompt") == "a fox"
    assert job.pop("give_up_after") == GIVE_UP_AFTER_S
    return job


def problems(
    kind: type[OpenAiFields] = OpenAiGeneration, *, strict: bool = True, **fields: Any
) -> dict[str, str]:
    with pytest.raises(InvalidField) as refused:
        translated(kind, Said(fields, {}, is_strict=strict))
    return {one.field: one.problem for one in refused.value.fields}


def test_a_prompt_alone_is_a_job() -> None:
    assert job_of() == {}
    assert generation().theirs.response_format == ResponseFormat.B64_JSON
    assert generation().warnings == []


@pytest.mark.parametrize(
    ("said", "job"),
    [
        ({"n": 2}, {"count": 2}),
        ({"size": "512x768"}, {"width": 512, "height": 768}),
        ({"size": "1024 X 1024"}, {"width": 1024, "height": 1024}),
        ({"size": "auto"}, {}),
        ({"output_format": "jpeg"}, {"image_file_type": "jpeg"}),
        ({"output_format": "JPG"}, {"image_file_type": "jpg"}),
        ({"output_format": "webp", "output_compression": 0}, {"image_file_type": "webp", "quality": 1}),
        ({"output_format": "jpeg", "output_compression": 80}, {"image_file_type": "jpeg", "quality": 80}),
        ({"quality": 70}, {"quality": 70}),
        ({"quality": "auto", "background": "auto", "moderation": "auto"}, {}),
        ({"stream": True, "partial_images": 2}, {"previews": True}),
        ({"stream": True, "partial_images": 0}, {}),
        ({"seed": 7, "steps": 9, "loras": ["fur"]}, {"seed": 7, "steps": 9, "loras": ["fur"]}),
        (
            {
                "num_inference_steps": 9,
                "guidance_scale": 4,
                "negative_prompt": "a dog",
                "sampler_name": "Euler a",
            },
            {"steps": 9, "cfg": 4, "negative_prompt": "a dog", "scheduler": "Euler a"},
        ),
        ({"foo": 1}, {"foo": 1}),
    ],
)
def test_a_field_is_one_of_the_job(said: dict[str, Any], job: dict[str, Any]) -> None:
    assert job_of(**said) == job
    assert generation(**said).warnings == []


def test_a_patience_that_is_said_counts() -> None:
    assert generation(give_up_after="5m").job["give_up_after"] == "5m"


@pytest.mark.parametrize("field", NO_EFFECT)
def test_what_has_no_effect_is_told(field: str) -> None:
    made = generation(**{field: "some"})
    (told,) = made.warnings
    assert told == f"{field} has no effect: {NO_EFFECT[field]}"
    assert field not in made.job
    assert generation(**{field: ["auto"]}).warnings != []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"quality": "high"}, "quality has no effect: set steps"),
        ({"partial_images": 2}, "partial_images has no effect without stream"),
        ({"output_compression": 50}, "output_compression has no effect: png has no quality"),
    ],
)
def test_what_has_no_effect_as_it_is_asked_for_is_told(said: dict[str, Any], told: str) -> None:
    assert generation(**said).warnings == [told]


@pytest.mark.parametrize(
    ("said", "field", "problem"),
    [
        ({}, "prompt", "is required"),
        ({"prompt": 7}, "prompt", "must be a string, not a whole number"),
        ({"prompt": "a", "size": "big"}, "size", "must be WIDTHxHEIGHT in pixels, such as 512x768, or auto"),
        ({"prompt": "a", "size": "512x"}, "size", "must be WIDTHxHEIGHT in pixels, such as 512x768, or auto"),
        (
            {"prompt": "a", "size": "٥١٢x512"},
            "size",
            "must be WIDTHxHEIGHT in pixels, such as 512x768, or auto",
        ),
        ({"prompt": "a", "output_format": "gif"}, "output_format", None),
        ({"prompt": "a", "output_format": "svg"}, "output_format", None),
        ({"prompt": "a", "partial_images": 4}, "partial_images", "must be at most 3"),
        ({"prompt": "a", "n": "2"}, "n", "must be a whole number, not a string"),
        ({"prompt": "a", "n": 2, "count": 3}, "n", "contradicts count: set one of them"),
        ({"prompt": "a", "size": "64x64", "width": 64}, "size", "contradicts width: set one of them"),
        ({"prompt": "a", "steps": 2, "num_steps": 3}, "num_steps", "contradicts steps: set one of them"),
        ({"prompt": "a", "output_format": "jpeg", "background": "transparent"}, "background", None),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(said: dict[str, Any], field: str, problem: str | None) -> None:
    found = problems(**said)
    assert list(found) == [field]
    assert problem is None or found[field] == problem


def test_a_refusal_of_the_job_has_the_names_that_the_client_used() -> None:
    made = generation(n=2, size="64x64", num_inference_steps=3, loras=["fur"])
    for ours, theirs in (("count", "n"), ("width", "size"), ("steps", "num_inference_steps"), ("cfg", "cfg")):
        (field,) = made.in_their_words(wrong_field(ours, "is wrong")).fields
        assert field.field == theirs
    error = made.in_their_words(wrong_field("loras[0].weight", "is wrong"))
    assert error.detail == "loras[0].weight: is wrong"


def test_an_edit_works_on_its_first_image_by_a_mask_of_transparency() -> None:
    said = {"prompt": "a fox", "partial_images": "1", "stream": "true", "n": "2"}
    files = {"image": (FILE, b"another"), "mask": (b"a mask",)}
    made = translated(OpenAiEdit, Said(said, files, is_strict=False))
    assert made.files == {InputKind.REFERENCE: FILE, InputKind.MASK: b"a mask"}
    assert (made.job["mask_mode"], made.job["count"], made.job["previews"]) == ("alpha", 2, True)
    assert made.theirs.stream
    assert ["image: only the first one has an effect" in told for told in made.warnings] == [True]
    assert made.in_their_words(wrong_field("mask_image_blob", "is wrong")).fields[0].field == "mask"


def test_a_mask_may_mark_in_our_way() -> None:
    said = {"prompt": "a fox", "image": "a", "mask": "b", "mask_mode": "luminance"}
    made = translated(OpenAiEdit, Said(said, {}, is_strict=True))
    assert (made.job["reference_image_blob"], made.job["mask_image_blob"]) == ("a", "b")
    assert made.job["mask_mode"] == "luminance"


def test_a_variation_needs_no_prompt_but_an_image() -> None:
    made = translated(OpenAiVariation, Said({}, {"image": (FILE,)}, is_strict=False))
    assert made.files == {InputKind.REFERENCE: FILE}
    assert problems(OpenAiVariation) == {"image": "is required"}
    assert problems(OpenAiEdit) == {"prompt": "is required", "image": "is required"}


def test_an_image_to_be_made_again_brings_its_own_prompt() -> None:
    made = translated(OpenAiEdit, Said({"like": "i1"}, {}, is_strict=True))
    assert made.job["like"] == "i1"


def test_marks_of_a_user_are_told_also_as_a_file() -> None:
    made = translated(
        OpenAiEdit, Said({"prompt": "a"}, {"image": (FILE,), "markup": (FILE,)}, is_strict=False)
    )
    assert made.warnings == [f"markup has no effect: {NO_EFFECT['markup']}"]
