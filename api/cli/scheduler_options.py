"""Scheduler options as people write them: `--scheduler-option beta_start=0.001`."""

from typing import Final

import click
import msgspec

SCHEDULER_NAMES: Final = "For all names see docs/api.md or GET /v1/capabilities."
"""For the help of options, where 54 names would be too many."""

Value = bool | int | float | str
Option = tuple[str, Value]

# Python's spelling, as in the docs of diffusers. As text, both words would count as true.
_PYTHON_WORDS: Final = {"True": True, "False": False}


class OptionParam(click.ParamType[Option]):
    """A name and its value: a number, true or false in JSON notation, or else text."""

    name = "option"

    def convert(
        self, value: str | Option, param: click.Parameter | None, ctx: click.Context | None
    ) -> Option:
        """Raises: BadParameter, if it is not NAME=VALUE, or the value is null, a list or an object."""
        if not isinstance(value, str):
            return value
        name, equals, text = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not NAME=VALUE, e.g. beta_start=0.001", param, ctx)
        if text in _PYTHON_WORDS:
            return name, _PYTHON_WORDS[text]
        try:
            found = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return name, text
        if not isinstance(found, Value):
            self.fail(f"{name}={text} is not a number, true, false or text", param, ctx)
        return name, found


def _by_name(
    ctx: click.Context, param: click.Parameter, options: tuple[Option, ...]
) -> dict[str, Value] | None:
    """The options by name, None if there are none. Raises: BadParameter, if one was given twice."""
    found = dict(options)
    if len(found) < len(options):
        raise click.BadParameter("each scheduler option may be given only once", ctx, param)
    return found or None


scheduler_option = click.option(
    "--scheduler-option",
    "scheduler_config",
    multiple=True,
    type=OptionParam(),
    callback=_by_name,
    metavar="NAME=VALUE",
    help="Scheduler option by its diffusers name, e.g. beta_start=0.001. Repeatable.",
)
