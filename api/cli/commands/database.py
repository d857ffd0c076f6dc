"""`spoon db`: back up, restore and check the database of this installation."""

from pathlib import Path

import click

from api.cli.context import Invocation
from api.cli.exit_codes import ExitCode
from api.cli.options import confirm, json_option, yes_option
from api.cli.output import print_struct, size

_MAX_LISTED = 20


@click.group()
def db() -> None:
    """Back up, restore and check the database."""


@db.command()
@click.argument("destination", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(invocation: Invocation, destination: Path) -> None:
    """Back up the database to the new file DESTINATION.

    The backup is a consistent snapshot and is safe to take while the server runs. It does not include images:
    copy images.folder afterwards. The backup contains prompts, so only your user can read it.

    \b
    Example:
      spoon db backup spoon-2026-01-31.sqlite3
    """
    from api.cli.installation.database_copy import back_up

    size_bytes = back_up(invocation.settings().database_file, destination)
    click.echo(f"{destination}: {size(size_bytes)}")


@db.command()
@click.argument("backup", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@yes_option
@click.pass_obj
def restore(invocation: Invocation, backup: Path, is_sure: bool) -> None:
    """Replace the database by BACKUP, a file from `spoon db backup`. Stop the server first.

    The backup is checked, and may be of an older version. The old database is kept beside the new one. Images
    that the backup does not know are deleted when the server starts: to keep them, copy images.folder first.
    Then put the images of the backup in place and run `spoon db check`.

    \b
    Example:
      spoon db restore spoon-2026-01-31.sqlite3
    """
    from api.cli.installation.database_check import unknown_images
    from api.cli.installation.database_copy import aside_of, restoring

    settings = invocation.settings()
    database = settings.database_file
    aside = aside_of(database) if database.exists() else None
    with restoring(database, backup) as restored:
        if unknown := len(unknown_images(settings, restored)):
            what = f"{unknown} {'image is' if unknown == 1 else 'images are'} unknown to the backup"
            click.echo(f"{what}; the server deletes such images when it starts", err=True)
        if aside is not None or unknown:
            confirm(f"Replace {database}?", is_sure=is_sure)
    kept = "" if aside is None else f"; the old database is {aside}"
    click.echo(f"restored {database}{kept}")


@db.command()
@click.option("--deep", "is_deep", is_flag=True, help="Also verify the SHA-256 digest of every file.")
@json_option
@click.pass_context
def check(context: click.Context, is_deep: bool, as_json: bool) -> None:
    """Check the database, its references and the files that it refers to.

    Orphans are files that the database does not refer to. They use disk space but are harmless. At startup,
    the server deletes orphaned images that it named itself and leaves all other files alone. Files and
    folders that other users can access are listed as well. The exit code is 1 if a problem is found.

    \b
    Examples:
      spoon db check
      spoon db check --deep --json
    """
    from api.cli.installation.database_check import check as look

    invocation = context.find_object(Invocation)
    assert invocation is not None
    report = look(invocation.settings(), is_deep)
    if as_json:
        print_struct(report)
    else:
        _say("problem", report.wrong)
        _say("orphan", report.orphans)
        _say("accessible to other users", report.open)
        click.echo(
            f"files: {report.files}, problems: {len(report.wrong)}, orphans: {len(report.orphans)}, "
            f"accessible to other users: {len(report.open)}"
        )
    context.exit(ExitCode.FAILURE if report.wrong else ExitCode.OK)


def _say(word: str, lines: tuple[str, ...]) -> None:
    for line in lines[:_MAX_LISTED]:
        click.echo(f"{word}: {line}")
    if len(lines) > _MAX_LISTED:
        click.echo(f"... and {len(lines) - _MAX_LISTED} more; use --json to list all")
