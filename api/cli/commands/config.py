"""`spoon config`: the effective configuration and the source of each value."""

import click
import msgspec

from api.cli.context import Invocation
from api.cli.options import json_option
from api.cli.output import print_json, print_table
from conf.load import explain
from conf.values import show_value


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the effective configuration."""

    key: str
    value: str
    origin: str
    variable: str


@click.group()
def config() -> None:
    """Inspect the configuration."""


@config.command()
@json_option
@click.pass_obj
def check(invocation: Invocation, as_json: bool) -> None:
    """Validate the configuration and print every effective value and its source.

    \b
    Examples:
      spoon config check
      spoon --config my.toml config check --json
    """
    lines = [
        Line(
            key=one.key.path,
            value=show_value(one.key, one.value),
            origin=one.origin,
            variable=one.key.variable,
        )
        for one in explain(invocation.installation, invocation.environ)
    ]
    if as_json:
        print_json(msgspec.json.encode(lines))
    else:
        click.echo(f"configuration file: {invocation.installation.file or 'none; `spoon init` writes one'}\n")
        print_table(
            ("KEY", "VALUE", "SOURCE"),
            [(line.key, line.value, line.origin) for line in lines],
            is_wrapped=True,
        )
