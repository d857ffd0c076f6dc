"""`spoon serve`, `manager`, `api`, `worker`: this process becomes one of the server's own."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

import click

from api.admin.invocation import Invocation
from kernel.protocol.join import JOIN_FILE_OPTION, WORKER_ENVIRON

_ROOT: Final = Path(__file__).parents[2]

_config_option: Final = click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file, as before the subcommand.",
)

_verbose_option: Final = click.option(
    "--verbose", is_flag=True, help="Log every event and every action of the Manager; never a prompt."
)


@click.command()
@_config_option
@_verbose_option
@click.pass_obj
def serve(invocation: Invocation, config_file: Path | None, verbose: bool) -> None:
    """Run the server: the Manager, and with it the REST API.

    It runs in the foreground until it is stopped with Ctrl-C, SIGTERM or `spoon stop`, and then waits for the
    running jobs. A second Ctrl-C puts these jobs back into the queue and leaves at once.

    \b
    Examples:
      spoon serve
      spoon serve --config my.toml
    """
    _become(invocation, config_file, "kernel.main", "--with-api", *_verbosity(verbose))


@click.command()
@_config_option
@_verbose_option
@click.pass_obj
def manager(invocation: Invocation, config_file: Path | None, verbose: bool) -> None:
    """Run the Manager alone, without the REST API.

    \b
    Example:
      spoon --config my.toml manager
    """
    _become(invocation, config_file, "kernel.main", *_verbosity(verbose))


@click.command("api")
@_config_option
@click.pass_obj
def api_(invocation: Invocation, config_file: Path | None) -> None:
    """Run the REST API alone, beside a Manager with the same configuration.

    \b
    Example:
      spoon --config my.toml api
    """
    _become(invocation, config_file, "api.main")


@click.command()
@click.option(
    JOIN_FILE_OPTION,
    "ticket",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The ticket that `spoon engines invite` wrote.",
)
def worker(ticket: Path) -> None:
    """Run one engine worker by hand, on this or another host.

    The Manager starts its own workers; this is for those that it cannot start. A ticket admits one worker.

    \b
    Example:
      spoon worker --join-file portraits.ticket
    """
    environ = {**WORKER_ENVIRON, **os.environ}
    _exec("engine_worker.main", JOIN_FILE_OPTION, str(ticket.absolute()), environ=environ)


def _verbosity(verbose: bool) -> tuple[str, ...]:
    return ("--verbose",) if verbose else ()


def _become(invocation: Invocation, config_file: Path | None, module: str, *options: str) -> NoReturn:
    invocation = replace(invocation, config=config_file or invocation.config)
    invocation.settings()  # A wrong configuration is told here, before anything starts.
    file = invocation.config_file()
    _exec(module, *options, *(("--config", str(file.absolute())) if file else ()))


def _exec(module: str, *arguments: str, environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Replace this process, so that signals reach the server itself and nothing stands in between."""
    # -P: a folder named api/ or conf/ where the user happens to stand is none of ours. A checkout that
    # is not installed is only found from its own root, and there the folder is the right one.
    is_at_root = Path.cwd() == _ROOT
    flags = [] if is_at_root else ["-P"]
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *flags, "-m", module, *arguments], dict(environ))
