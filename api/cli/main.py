"""The command `spoon`: its parts, and how its errors become sentences and exit codes."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from api.cli.config import config
from api.cli.context import Invocation
from api.cli.database import db
from api.cli.doctor import doctor
from api.cli.draw import draw
from api.cli.engines import engines
from api.cli.exit_codes import ExitCode, code_of, exit_of
from api.cli.images import images
from api.cli.jobs import jobs
from api.cli.models import models
from api.cli.processes import api_, manager, serve, worker
from api.cli.server import status, stop
from kernel.protocol.errors import SpoonError
from kernel.protocol.version import VERSION

_WHOLE: Final = ("--config", "--url")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file (TOML). [default: $SPOON_CONFIG, else built-in defaults]",
)
@click.option(
    "--url",
    metavar="URL",
    help="Base URL of the REST API, e.g. http://127.0.0.1:7870. [default: $SPOON_URL, else the local server]",
)
@click.version_option(VERSION, message="%(version)s")
@click.pass_context
def spoon(context: click.Context, config_file: Path | None, url: str | None) -> None:
    """An image-generation server for Stable Diffusion.

    \b
    Quick start:
      SPOON_MODELS_FILE_ROOTS=. spoon serve &
      spoon models add ./dreams.safetensors --type checkpoint --name dreams --wait
      spoon draw "a red fox in the snow" --out fox.png
      spoon stop
    """
    environ = context.obj if isinstance(context.obj, Mapping) else {}
    context.obj = Invocation(config=config_file, url=url, environ=environ)


for command in (
    serve,
    stop,
    status,
    manager,
    api_,
    worker,
    models,
    engines,
    draw,
    jobs,
    images,
    config,
    db,
    doctor,
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
    except SpoonError as error:
        return _complain(error)
    except click.ClickException as error:
        error.show()
        _hint(error)
        return error.exit_code
    except click.Abort:
        return ExitCode.DETACHED
    except BrokenPipeError:
        # The reader has closed the pipe. Python would complain when it flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except OSError as error:
        click.echo(f"spoon: {error}", err=True)
        return ExitCode.FAILURE
    return ended if isinstance(ended, int) else ExitCode.OK


def _hint(error: click.ClickException) -> None:
    """Say where a global option belongs, if it was given after the subcommand."""
    if isinstance(error, click.NoSuchOption) and error.option_name in _WHOLE and error.ctx:
        path = error.ctx.command_path.removeprefix("spoon ")
        click.echo(
            f"{error.option_name} goes before the subcommand: spoon {error.option_name} ... {path}", err=True
        )


def _complain(error: SpoonError) -> ExitCode:
    """Print the error in one sentence with its code, then each invalid field."""
    click.echo(f"spoon: {error.detail} [{code_of(error)}]", err=True)
    for field in error.fields:
        if field.problem not in error.detail:
            click.echo(f"  {field.field}: {field.problem}", err=True)
    return exit_of(error)


if __name__ == "__main__":
    main()
