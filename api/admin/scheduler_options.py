"""Options of a scheduler as people write them: `--scheduler-option beta_start=0.001`."""

from typing import Final

import click
import msgspec

Value = bool | int | float | str
Option = tuple[str, Value]

# Python's spelling, as the pages of diffusers have it: as a text it would count as true, whichever it is.
_PYTHON_WORDS: Final = {"True": True, "False": False}


class OptionParam(click.ParamType[Option]):
    """A name and its value: a number, true or false as JSON writes them, and everything else is a text."""

    name = "option"

    def convert(
        self, value: str | Option, param: click.Parameter | None, ctx: click.Context | None
    ) -> Option:
        """Raises: BadParameter, if it is no NAME=VALUE, or the value is null, a list or an object."""
        if not isinstance(value, str):
            return value
        name, equals, text = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no NAME=VALUE, such as beta_start=0.001", param, ctx)
        if text in _PYTHON_WORDS:
            return name, _PYTHON_WORDS[text]
        try:
            found = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return name, text
        if not isinstance(found, Value):
            self.fail(f"{name} is {text}: it can be a number, true, false or a text", param, ctx)
        return name, found


def _by_name(
    ctx: click.Context, param: click.Parameter, options: tuple[Option, ...]
) -> dict[str, Value] | None:
    """All that were given, None if none was. Raises: BadParameter, if one was given twice."""
    found = dict(options)
    if len(found) < len(options):
        raise click.BadParameter("each option can be given once", ctx, param)
    return found or None


scheduler_option = click.option(
    "--scheduler-option",
    "scheduler_config",
    multiple=True,
    type=OptionParam(),
    callback=_by_name,
    metavar="NAME=VALUE",
    help="An option of the scheduler by its diffusers name; can be given again.",
)
