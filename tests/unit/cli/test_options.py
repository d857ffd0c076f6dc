"""What options make of the words that people write."""

from enum import StrEnum

import click
import msgspec
import pytest

from api.cli.commands.engines import create
from api.cli.commands.jobs import submit
from api.cli.engine_options import ReplicasParam
from api.cli.options import WordChoice
from api.cli.scheduler_options import OptionParam, Value
from kernel.core.commands.job_defaults import DEFAULT_IMAGE_FIT, DEFAULT_STRENGTH, MASK_DEFAULTS
from kernel.protocol.enums import ImageFileType, ModelBase, ModelType, Scheduler, Variant
from kernel.protocol.model_refs import ControlUse
from kernel.protocol.specs import EngineSpec, JobRequest
from kernel.protocol.values import WHITE


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
    with pytest.raises(click.BadParameter, match="must be one of png, jpeg, webp"):
        WordChoice(ImageFileType).convert("gif", None, None)


def test_a_scheduler_that_is_not_offered_is_refused_with_what_comes_near() -> None:
    with pytest.raises(click.BadParameter, match=r"closest are dpmpp_2s_karras and dpm2_a_karras$"):
        WordChoice(Scheduler).convert("DPM++ 2S a Karras", None, None)


def test_a_scheduler_that_is_misspelled_is_refused_with_the_nearest_not_with_all() -> None:
    with pytest.raises(click.BadParameter, match="did you mean heun, ") as refusal:
        WordChoice(Scheduler).convert("heunn", None, None)
    assert len(refusal.value.message) < 150


def test_the_help_keeps_the_list_of_words() -> None:
    option = click.Option(["--base"], type=WordChoice(ModelBase))
    assert option.make_metavar(click.Context(click.Command("add"))) == "[sd|sdxl]"


@pytest.mark.parametrize("command", [create, submit])
def test_the_help_names_no_scheduler_but_where_to_find_them(command: click.Command) -> None:
    (option,) = (one for one in command.params if one.name == "scheduler")
    assert option.make_metavar(click.Context(command)) == "SCHEDULER"
    assert "GET /v1/capabilities" in help_of(command)["scheduler"]


@pytest.mark.parametrize(
    ("command", "spec", "options"),
    [
        (create, EngineSpec, {"scheduler": "scheduler", "steps": "steps", "cfg": "guidance_scale",
                              "device": "device", "long_prompt_technique": "long_prompt_technique",
                              "replicas": "replicas"}),
        (submit, JobRequest, {"count": "count", "quality": "quality"}),
        (submit, ControlUse, {"control_scale": "scale", "control_start": "start", "control_end": "end"}),
    ],
)  # fmt: skip
def test_the_defaults_in_the_help_are_those_of_the_server(
    command: click.Command, spec: type[msgspec.Struct], options: dict[str, str]
) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(spec)}
    told = help_of(command)
    wrong = [
        option
        for option, field in options.items()
        if f"[default: {shown(defaults[field])}]" not in told[option]
    ]
    assert wrong == []


def test_the_defaults_in_the_help_are_those_that_the_core_fills_in() -> None:
    told = help_of(submit)
    assert f"[default: {DEFAULT_STRENGTH:g}]" in told["strength"]
    assert f"[default: {DEFAULT_IMAGE_FIT}]" in told["image_fit"]
    assert f"[default: {WHITE}]" in told["background_color"]
    for name, default in MASK_DEFAULTS.items():
        assert f"[default: {default}]" in told[name]


def help_of(command: click.Command) -> dict[str | None, str]:
    return {one.name: one.help or "" for one in command.params if isinstance(one, click.Option)}


def shown(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize(
    ("written", "value"), [("2", 2), ("1-4", {"min": 1, "max": 4}), ("4-1", {"min": 4, "max": 1})]
)
def test_replicas_are_a_number_or_a_range_whose_bounds_the_server_checks(
    written: str, value: int | dict[str, int]
) -> None:
    assert ReplicasParam().convert(written, None, None) == value


@pytest.mark.parametrize("written", ["", "two", "-1", "1-", "1-2-3", "1.5", "٣"])
def test_replicas_that_are_neither_are_refused_with_examples(written: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a number such as 2 nor a range such as 1-4"):
        ReplicasParam().convert(written, None, None)


@pytest.mark.parametrize(
    ("written", "value"),
    [("1", 1), ("0.5", 0.5), ("true", True), ("False", False), ("linear", "linear"), ('"1"', "1"), ("", "")],
)
def test_the_value_of_a_schedulers_option_is_what_it_looks_like(written: str, value: Value) -> None:
    name, found = OptionParam().convert(f"option={written}", None, None)
    assert (name, found, type(found)) == ("option", value, type(value))
