"""The command `spoon`: its parts, and how its errors become sentences and exit codes."""

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

import click
import msgspec

from api.cli.commands.completion import completion
from api.cli.commands.config import config
from api.cli.commands.database import db
from api.cli.commands.doctor import doctor
from api.cli.commands.draw import draw
from api.cli.commands.engines import engines
from api.cli.commands.images import images
from api.cli.commands.init import init
from api.cli.commands.jobs import jobs
from api.cli.commands.keys import keys
from api.cli.commands.mcp import mcp
from api.cli.commands.models import models
from api.cli.commands.presets import presets
from api.cli.commands.processes import api_, manager, serve, worker
from api.cli.commands.queue import queue
from api.cli.commands.server import health, status, stop
from api.cli.commands.webhooks import webhooks
from api.cli.commands.wildcards import wildcards
from api.cli.commands.workers import workers
from api.cli.context import Invocation
from api.cli.exit_codes import ExitCode, code_of, exit_of
from kernel.protocol.errors import FieldProblem, KeyMissing, SpoonError
from kernel.protocol.version import VERSION

_WHOLE: Final = ("--config", "--url", "--key-file")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file (TOML). [default: $SPOON_CONFIG, else the user's (see `spoon init`), "
    "else /etc/automatic-spoon/spoon.toml]",
)
@click.option(
    "--url",
    metavar="URL",
    help="Base URL of the REST API, e.g. http://127.0.0.1:7870. [default: $SPOON_URL, else the local server]",
)
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the API key. [default: the key in $SPOON_KEY, or the file in $SPOON_KEY_FILE]",
)
@click.version_option(VERSION, message="%(version)s")
@click.pass_context
def spoon(context: click.Context, config_file: Path | None, url: str | None, key_file: Path | None) -> None:
    """An image-generation server for Stable Diffusion.

    \b
    Quick start:
      spoon init
      spoon serve &
      spoon draw "a red fox in the snow" --out fox.png
      spoon stop
    """
    environ = context.obj if isinstance(context.obj, Mapping) else {}
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        context.color = False  # the commands inherit it; otherwise only terminals get colors
    context.obj = Invocation(config=config_file, url=url, environ=environ, key_file=key_file)


for command in (
    init,
    serve,
    stop,
    status,
    health,
    manager,
    api_,
    worker,
    workers,
    models,
    engines,
    draw,
    jobs,
    queue,
    images,
    keys,
    webhooks,
    presets,
    wildcards,
    mcp,
    config,
    db,
    doctor,
    completion,
):
    spoon.add_command(command)


def main() -> None:
    """The entry point: this process's arguments and environment."""
    sys.exit(run(sys.argv[1:], os.environ))


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """One call of `spoon`. Returns: its exit code."""
    try:
        ended = spoon.main([*arguments], prog_name="spoon", standalone_mode=False, obj=environ)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe. Python would complain when it flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except (SpoonError, click.ClickException, click.Abort, OSError) as error:
        (_tell_in_json if _is_json_wanted(arguments) else _tell)(error)
        return _exit_code(error)
    return ended if isinstance(ended, int) else ExitCode.OK


class ErrorReport(msgspec.Struct, frozen=True, kw_only=True):
    """An error of a command with --json: the members that problem documents of the REST API have, too."""

    code: str
    detail: str
    fields: tuple[FieldProblem, ...] = ()


def _is_json_wanted(arguments: Sequence[str]) -> bool:
    """Read from the bare arguments, because they may be what is wrong."""
    return "--json" in takewhile(lambda argument: argument != "--", arguments)


def _exit_code(error: Exception) -> int:
    match error:
        case SpoonError():
            return exit_of(error)
        case click.ClickException():
            return error.exit_code
        case click.Abort():
            return ExitCode.DETACHED
        case _:
            return ExitCode.FAILURE


def _tell(error: Exception) -> None:
    """Print the error in one sentence with its code, then each invalid field."""
    match error:
        case SpoonError():
            click.echo(f"spoon: {error.detail} [{code_of(error)}]", err=True)
            for field in error.fields:
                if field.problem not in error.detail:
                    click.echo(f"  {field.field}: {field.problem}", err=True)
            if code_of(error) == KeyMissing.code:
                click.echo("pass the key with --key-file FILE, or in the variable SPOON_KEY", err=True)
        case click.ClickException():
            error.show()
            if hint := _hint(error):
                click.echo(hint, err=True)
        case OSError():
            click.echo(f"spoon: {error}", err=True)


def _tell_in_json(error: Exception) -> None:
    """Print the error as one line of JSON."""
    click.echo(msgspec.json.encode(_report(error)), err=True)


def _report(error: Exception) -> ErrorReport:
    match error:
        case SpoonError():
            return ErrorReport(code=code_of(error), detail=error.detail, fields=error.fields)
        case click.ClickException():
            detail = f"{error.format_message()} {_hint(error)}".rstrip()
            name = error.param.opts[0] if isinstance(error, click.BadParameter) and error.param else None
            fields = () if name is None else (FieldProblem(field=name, problem=error.message),)
            return ErrorReport(code="usage", detail=detail, fields=fields)
        case click.Abort():
            return ErrorReport(code="aborted", detail="aborted")
        case _:
            return ErrorReport(code="os_error", detail=str(error))


def _hint(error: click.ClickException) -> str:
    """Where a global option belongs, if it was given after the subcommand; else nothing."""
    if isinstance(error, click.NoSuchOption) and error.option_name in _WHOLE and error.ctx:
        path = error.ctx.command_path.removeprefix("spoon ")
        return f"{error.option_name} goes before the subcommand: spoon {error.option_name} ... {path}"
    return ""


if __name__ == "__main__":
    main()
