"""`spoon wildcards`: the lists from which `__NAME__` in a prompt is chosen."""

from urllib.parse import quote

import click
import msgspec

from api.cli.client.client_models import list_items
from api.cli.context import Invocation
from api.cli.options import json_option, limit_option
from api.cli.output import print_json, print_table

PATH = "/v1/wildcards"


class WildcardList(msgspec.Struct, frozen=True, kw_only=True):
    """A list as the server shows it."""

    name: str
    lines: int


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A choice of a list."""

    text: str
    weight: float


@click.group()
def wildcards() -> None:
    """Show the lists of choices that prompts can name as __NAME__ (setting wildcards.folders)."""


@wildcards.command("list")
@click.option("--search", metavar="TEXT", help="Only lists with this in their names.")
@limit_option
@json_option
@click.pass_obj
def list_all(invocation: Invocation, search: str | None, limit: int, as_json: bool) -> None:
    """List the lists by name."""
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        items = list_items(rest, PATH, {"search": search}, limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    lists = (read(item, WildcardList) for item in items)
    print_table(("NAME", "LINES"), [(one.name, str(one.lines)) for one in lists])


@wildcards.command()
@click.argument("name")
@limit_option
@json_option
@click.pass_obj
def show(invocation: Invocation, name: str, limit: int, as_json: bool) -> None:
    """Show the lines of the list NAME. With * it is all lists that fit.

    \b
    Examples:
      spoon wildcards show animals/cats
      spoon wildcards show "animals/*"
    """
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        items = list_items(rest, f"{PATH}/{quote(name, safe='')}", {}, limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    for one in (read(item, Line) for item in items):
        click.echo(one.text if one.weight == 1 else f"{one.weight:g}::{one.text}")
