"""The options of `spoon models add` that describe a model."""

from collections.abc import Callable
from typing import Final, TypeVar

import click

from api.cli.options import WordChoice, numbers
from kernel.protocol.enums import ControlType, ModelBase, ModelType, Variant

Command = TypeVar("Command", bound=Callable[..., None])

_OPTIONS: Final = (
    click.option(
        "--type", "model_type", type=WordChoice(ModelType),
        help="Model type. Required, unless SOURCE is an AIR of CivitAI, which says it.",
    ),
    click.option(
        "--name", metavar="NAME",
        help="Name of the model. [default: the file name without suffix, the repository, or the title on "
        "CivitAI]",
    ),
    click.option(
        "--base", "model_base", type=WordChoice(ModelBase), help="Expected base model. [default: detected]"
    ),
    click.option(
        "--variant", type=WordChoice(Variant), help="Precision to download if the repository has several."
    ),
    click.option(
        "--tag", "tags", metavar="TAG", multiple=True, help="Tag for `spoon models list --tag`. Repeatable."
    ),
    click.option(
        "--sha256", metavar="HEX", help="Expected SHA-256 digest. A file with another digest is rejected."
    ),
    click.option(
        "--trigger-word", "trigger_words", metavar="WORD", multiple=True,
        help="Trigger word of a LoRA or textual inversion. Repeatable. "
        "[default: from CivitAI, or from the file]",
    ),
    click.option(
        "--control-type", type=WordChoice(ControlType),
        help="Control type that a ControlNet was trained for. [default: from the file]",
    ),
    click.option(
        "--input-size", type=numbers, metavar="PIXELS",
        help="Input size of a background remover: 320 (square), or 640,480 (width, height). "
        "[default: from the file]",
    ),
    click.option(
        "--mean", type=numbers, metavar="R,G,B",
        help="Normalization mean of a background remover, e.g. 0.5,0.5,0.5. [default: from the file]",
    ),
    click.option(
        "--std", type=numbers, metavar="R,G,B",
        help="Normalization standard deviation of a background remover, e.g. 1,1,1. "
        "[default: from the file]",
    ),
)  # fmt: skip


def model_options(command: Command) -> Command:
    """Give a command every option that describes a model, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
