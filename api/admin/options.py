"""Options that several commands have in common, and values as people write them."""

from enum import StrEnum

import click

from api.http.words import find_word
from conf.units import parse_duration_s

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="List at most so many."
)
all_option = click.option("--all", "is_all", is_flag=True, help="List all of them, whatever --limit says.")
yes_option = click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")


class WordChoice(click.Choice[str]):
    """One of a closed set of words, in the spellings that the REST API takes: `DPM++ 2M Karras`, `LoRA`."""

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__([word.value for word in words])
        self._words = words

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word itself, whatever its spelling. Raises: BadParameter, with the words that there are."""
        found = find_word(self._words, value)
        return super().convert(value if found is None else found.value, param, ctx)


def duration(text: str) -> float:
    """A duration such as 90s or 10m, to seconds; click names the type after this function."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no duration such as 90s, 10m or 2h") from error
