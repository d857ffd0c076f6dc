"""What options make of the words that people write."""

from enum import StrEnum

import click
import pytest

from api.admin.options import WordChoice
from api.admin.scheduler_options import OptionParam, Value
from kernel.protocol.vocabulary import ImageFileType, ModelBase, ModelType, Scheduler, Variant


@pytest.mark.parametrize(
    ("words", "written", "meant"),
    [
        (Scheduler, "DPM++ 2M Karras", Scheduler.DPMPP_2M_KARRAS),
        (Scheduler, "Euler a", Scheduler.EULER_A),
        (ModelType, "LoRA", ModelType.LORA),
        (ModelBase, "SDXL", ModelBase.SDXL),
        (ImageFileType, "JPG", ImageFileType.JPEG),
        (Variant, "float16", Variant.FP16),
    ],
)
def test_words_are_taken_in_the_spellings_that_the_api_takes(
    words: type[StrEnum], written: str, meant: str
) -> None:
    assert WordChoice(words).convert(written, None, None) == meant


def test_a_word_that_is_none_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(click.BadParameter, match="'gif' is not one of 'png', 'jpeg', 'webp'"):
        WordChoice(ImageFileType).convert("gif", None, None)


def test_a_scheduler_that_is_not_offered_is_refused_with_what_comes_near() -> None:
    with pytest.raises(
        click.BadParameter, match="closest are dpmpp_2s_karras and dpm2_a_karras; must be one"
    ):
        WordChoice(Scheduler).convert("DPM++ 2S a Karras", None, None)


def test_the_help_keeps_the_list_of_words() -> None:
    option = click.Option(["--base"], type=WordChoice(ModelBase))
    assert option.make_metavar(click.Context(click.Command("add"))) == "[sd|sdxl]"


@pytest.mark.parametrize(
    ("written", "value"),
    [("1", 1), ("0.5", 0.5), ("true", True), ("False", False), ("linear", "linear"), ('"1"', "1"), ("", "")],
)
def test_the_value_of_a_schedulers_option_is_what_it_looks_like(written: str, value: Value) -> None:
    name, found = OptionParam().convert(f"option={written}", None, None)
    assert (name, found, type(found)) == ("option", value, type(value))
