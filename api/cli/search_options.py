"""The options that search jobs and images, and the query made from them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

import click

from api.cli.client.client_models import find_engine, list_items
from api.cli.completion import checkpoints, engine_names, loras
from api.cli.options import WordChoice
from kernel.protocol.errors import EngineNotFound
from kernel.views.page import Order

if TYPE_CHECKING:
    from api.cli.client.rest import Query, Rest

Command = TypeVar("Command", bound=Callable[..., None])
Wanted = str | int | bool | None

_FILTERS: Final = (
    click.option(
        "--prompt", metavar="TEXT", help='Only those with these words in the prompt; quote "a phrase".'
    ),
    click.option(
        "--engine",
        metavar="ENGINE",
        shell_complete=engine_names,
        help="Only those of this engine (an id or name).",
    ),
    click.option(
        "--checkpoint",
        metavar="MODEL",
        shell_complete=checkpoints,
        help="Only those made with this checkpoint (an id or name).",
    ),
    click.option(
        "--lora",
        metavar="MODEL",
        shell_complete=loras,
        help="Only those made with this LoRA (an id or name).",
    ),
    click.option(
        "--key", metavar="KEY", help="Only those of this API key (an id or name), for admins and viewers."
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Only those with this seed."),
    click.option("--width", type=click.IntRange(min=1), help="Only those of this width, in pixels."),
    click.option("--height", type=click.IntRange(min=1), help="Only those of this height, in pixels."),
    click.option(
        "--since",
        "created_after",
        metavar="WHEN",
        help="Only those created since a time, a day (2026-01-31) or as long ago as, e.g., 7d.",
    ),
    click.option("--until", "created_before", metavar="WHEN", help="Only those created before; as --since."),
)
_OF_IMAGES: Final = (
    click.option("--tag", help="Only images with this tag."),
    click.option("--favorite/--no-favorite", default=None, help="Only favorites, or only others."),
)
_ORDER: Final = click.option("--order", type=WordChoice(Order), help="Which come first. [default: newest]")


def search_options(command: Command) -> Command:
    """The filters that lists of jobs and images share, and their order."""
    return _decorated(command, (*_FILTERS, _ORDER))


def image_filters(command: Command) -> Command:
    """What images alone are filtered by, beside all that jobs are."""
    return _decorated(command, (*_FILTERS, *_OF_IMAGES))


def image_search_options(command: Command) -> Command:
    """The filters of images, and their order."""
    return _decorated(image_filters(command), (_ORDER,))


def query_of(rest: "Rest", wanted: Mapping[str, Wanted]) -> "Query":
    """The query for what was said; an engine's name becomes its id, unless only images are left of it.

    Raises: EngineNotFound.
    """
    engine = wanted.get("engine")
    if not engine:
        return {**wanted, "engine": None}
    try:
        return {**wanted, "engine": None, "engine_id": find_engine(rest, str(engine)).engine_id}
    except EngineNotFound:
        if not list_items(rest, "/v1/images", {"engine": str(engine)}, 1):
            raise
        return dict(wanted)


def _decorated(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
