"""`spoon db`: a copy and a check of the database, on a running and on a stopped server."""

from pathlib import Path

import click

from api.admin.exits import ExitCode
from api.admin.invocation import Invocation
from api.admin.options import json_option
from api.admin.output import print_struct, size

_MAX_LISTED = 20


@click.group()
def db() -> None:
    """Back up and check the database."""


@db.command()
@click.argument("destination", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(invocation: Invocation, destination: Path) -> None:
    """Copy the database, as it is at this moment, to the new file DESTINATION.

    The pictures are not in it: they lie in images.folder, and can be copied after the database at any time.
    The copy holds prompts: nobody but you may read it.

    \b
    Example:
      spoon db backup spoon-2026-01-31.sqlite3
    """
    from api.admin.database_copy import back_up

    size_bytes = back_up(invocation.settings().database_file, destination)
    click.echo(f"{destination}: {size(size_bytes)}")


@db.command()
@click.option("--deep", "is_deep", is_flag=True, help="Compare every file with its digest, too.")
@json_option
@click.pass_context
def check(context: click.Context, is_deep: bool, as_json: bool) -> None:
    """Check the database, its references, and the files that it names.

    Files that nobody knows are listed; they take room but do no harm. When the server starts it removes the
    pictures among them that bear a name as it gives them, and no others. Files and folders that other users
    can read are listed, too. The exit code is 1 when something is wrong.

    \b
    Examples:
      spoon db check
      spoon db check --deep --json
    """
    from api.admin.database_check import check as look

    invocation = context.find_object(Invocation)
    assert invocation is not None
    findings = look(invocation.settings(), is_deep)
    if as_json:
        print_struct(findings)
    else:
        _say("wrong", findings.wrong)
        _say("orphan", findings.orphans)
        _say("open to other users", findings.open)
        counts = f"{len(findings.wrong)} wrong, {len(findings.orphans)} orphans, {len(findings.open)} open"
        click.echo(f"{findings.files} files, {counts}")
    context.exit(ExitCode.FAILURE if findings.wrong else ExitCode.OK)


def _say(word: str, lines: tuple[str, ...]) -> None:
    for line in lines[:_MAX_LISTED]:
        click.echo(f"{word}: {line}")
    if len(lines) > _MAX_LISTED:
        click.echo(f"... and {len(lines) - _MAX_LISTED} more: see them all with --json")
