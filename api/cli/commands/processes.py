"""`spoon serve`, `manager`, `api`, `worker`: replace this process by one of the server's."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

import click

from api.cli.context import Invocation
from api.cli.options import disk_size
from conf.installation import worker_cache
from conf.load import settings_of
from kernel.protocol.join import (
    CACHE_BYTES_OPTION,
    CACHE_FOLDER_OPTION,
    MAP_OPTION,
    worker_environ,
)

_ROOT: Final = Path(__file__).parents[3]

_config_option: Final = click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file (TOML). Overrides --config before the subcommand.",
)

_verbose_option: Final = click.option(
    "--verbose", is_flag=True, help="Log every event and action of the Manager. Prompts are never logged."
)


@click.command()
@_config_option
@_verbose_option
@click.pass_obj
def serve(invocation: Invocation, config_file: Path | None, verbose: bool) -> None:
    """Run the server: the Manager and the REST API.

    The server runs in the foreground. Ctrl-C, SIGTERM or `spoon stop` stops it after its running jobs finish.
    A second Ctrl-C puts running jobs back in the queue and exits at once.

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
    """Run only the Manager, without the REST API.

    \b
    Example:
      spoon --config my.toml manager
    """
    _become(invocation, config_file, "kernel.main", *_verbosity(verbose))


@click.command("api")
@_config_option
@click.pass_obj
def api_(invocation: Invocation, config_file: Path | None) -> None:
    """Run only the REST API, next to a Manager with the same configuration.

    \b
    Example:
      spoon --config my.toml api
    """
    _become(invocation, config_file, "api.main")


@click.command()
@click.option(
    "--token-file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with an enrollment token, from `spoon workers token create`. Only you may be able to read it.",
)
@click.option(
    CACHE_FOLDER_OPTION,
    "cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for models that this host lacks: they are copied from the server. All workers of a host can "
    "share one. [default: automatic-spoon/worker-models in your cache folder]",
)
@click.option(
    "--cache-size",
    "cache_bytes",
    type=disk_size,
    metavar="SIZE",
    default="64GB",
    show_default=True,
    help="The most that the folder may hold; models that were not used for longest make room. 0 copies none.",
)
@click.option(
    MAP_OPTION,
    "mappings",
    multiple=True,
    metavar="THERE=HERE",
    help="A shared folder: its path on the server's host, and on this one. Can be repeated.",
)
@click.option(
    "--manager",
    required=True,
    metavar="URL",
    help="Address of the server's bus (its bus.endpoint), e.g. tcp://192.168.1.2:7871.",
)
@click.option(
    "--file-root",
    "file_roots",
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of this host from which file:// models may be loaded. Repeatable. "
    "[default: models.file_roots, models.folders and models.folder]",
)
@click.option(
    "--detectors-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of this host with the control-map detectors. [default: models.detectors_folder]",
)
@click.option(
    "--launch",
    metavar="NAME",
    help="Which of a launcher's workers this is. Such a worker is not started again once it has ended.",
)
@click.pass_obj
def worker(
    invocation: Invocation,
    token_file: Path,
    manager: str,
    cache: Path | None,
    cache_bytes: int,
    mappings: tuple[str, ...],
    file_roots: tuple[Path, ...],
    detectors_folder: Path | None,
    launch: str | None,
) -> None:
    """Run a worker of a pool on this host, which may be any that reaches the server.

    It joins the pool of its token and serves the engines of that pool, one after the other. If it loses the
    server, it keeps its model and its jobs, and comes back by itself. Ctrl-C or SIGTERM stops it after its
    running jobs; a second one stops it at once.

    A model's file that is not on this host is copied from the server's, once for all workers with the same
    cache folder. Shared folders save that: say with --map where they are here.

    \b
    Examples:
      spoon worker --token-file gpu-lab.token --manager tcp://192.168.1.2:7871
      spoon worker --token-file F --manager tcp://10.0.0.1:7871 --map /srv/models=/mnt/models
      spoon worker --token-file F --manager tcp://10.0.0.1:7871 --cache-folder /scratch --cache-size 200GB
    """
    settings = invocation.settings()
    options = ["--token-file", str(token_file.absolute()), "--manager", manager]
    for root in file_roots or (*settings.models.roots, settings.models.folder):
        options += ["--file-root", str(root)]
    detectors = str((detectors_folder or settings.detectors_folder).absolute())
    options += ["--detectors-folder", detectors, *(("--launch", launch) if launch else ())]
    options += [f"{MAP_OPTION}={mapping}" for mapping in mappings]
    folder = cache or worker_cache()
    if folder is not None and cache_bytes:
        options += [CACHE_FOLDER_OPTION, str(folder.absolute()), CACHE_BYTES_OPTION, str(cache_bytes)]
    _exec("engine_worker.supervisor", *options, environ=worker_environ(os.environ))


def _verbosity(verbose: bool) -> tuple[str, ...]:
    return ("--verbose",) if verbose else ()


def _become(invocation: Invocation, config_file: Path | None, module: str, *options: str) -> NoReturn:
    invocation = replace(invocation, config=config_file or invocation.config)
    # A wrong one ends this process, not the one that it turns into.
    settings_of(invocation.installation, invocation.environ)
    _exec(module, *options, *config_option(invocation))


def _exec(module: str, *arguments: str, environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Replace this process, so that signals reach the server directly."""
    sys.stdout.flush()
    os.execve(sys.executable, python(module, *arguments), dict(environ))


def config_option(invocation: Invocation) -> tuple[str, ...]:
    """The option by which a process of the server gets the configuration file, if there is one."""
    file = invocation.installation.file
    return ("--config", str(file.absolute())) if file else ()


def python(module: str, *arguments: str) -> list[str]:
    """The command line of one of the server's processes."""
    # -P: do not import a folder named api/ or conf/ from the current directory. A checkout that is not
    # installed can only be imported from its own root, where the current directory is the right one.
    is_at_root = Path.cwd() == _ROOT
    flags = [] if is_at_root else ["-P"]
    return [sys.executable, *flags, "-m", module, *arguments]
