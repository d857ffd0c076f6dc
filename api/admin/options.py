"""Options that several commands have in common, and values as people write them."""

from enum import StrEnum

import click

from conf.units import parse_duration_s

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="List at most so many."
)
all_option = click.option("--all", "is_all", is_flag=True, help="List all of them, whatever --limit says.")
yes_option = click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")


def choice(words: type[StrEnum]) -> "click.Choice[str]":
    """One of a closed set of words, in any case, as the REST API takes them."""
    return click.Choice([word.value for word in words], case_sensitive=False)


def duration(text: str) -> float:
    """A duration such as 90s or 10m, to seconds; click names the type after this function."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no duration such as 90s, 10m or 2h") from error
