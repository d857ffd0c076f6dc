"""`spoon init`: asks three questions and writes the configuration file."""

import os
import re
import shlex
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from api.cli.context import Invocation
from api.cli.installation.new_configuration import (
    ACCESS,
    Answers,
    Reach,
    configuration,
    key_of,
    own_folders,
    refuse_existing,
    values_of,
    write_configuration,
)
from api.cli.options import WordChoice
from conf.installation import Installation, Layout, named_file, of_file, user_file

Answer = TypeVar("Answer")

_HOST_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)
_PORT: Final = key_of("server.port")


class ModelFolder(click.ParamType[Path]):
    """A folder that this user can read, made absolute."""

    name = "folder"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The folder. Raises: BadParameter."""
        folder = Path(value).expanduser().resolve()
        if not folder.is_dir():
            self.fail(f"{folder} is not a folder", param, ctx)
        if not os.access(folder, os.R_OK | os.X_OK):
            self.fail(f"this user cannot read {folder}", param, ctx)
        return folder


class HostName(click.ParamType[str]):
    """A host name as browsers send it: no scheme, no port."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name. Raises: BadParameter."""
        if _HOST_NAME.fullmatch(value) is None:
            self.fail(f"{value!r} is not a host name (example: spoon.example.org)", param, ctx)
        return value


_port_type: Final = click.IntRange(int(_PORT.lowest or 0), int(_PORT.highest or 0))
_reach_type: Final = WordChoice(Reach)


@click.command()
@click.option(
    "--models",
    "folders",
    multiple=True,
    type=ModelFolder(),
    help="Folder with models that you have: they are found by themselves and used in place. Repeatable.",
)
@click.option("--port", type=_port_type, help="Port of the REST API. 0 selects a free port at each start.")
@click.option("--reach", type=_reach_type, help="Who may reach the server.")
@click.option(
    "--host-name",
    "names",
    multiple=True,
    type=HostName(),
    help="Host name of the server in the network, or of its proxy. Repeatable.",
)
@click.option("--yes", "is_sure", is_flag=True, help="Ask nothing: use the defaults of what no option says.")
@click.option("--force", "is_forced", is_flag=True, help="Replace the file if it exists.")
@click.pass_obj
def init(
    invocation: Invocation,
    folders: tuple[Path, ...],
    port: int | None,
    reach: str | None,
    names: tuple[str, ...],
    is_sure: bool,
    is_forced: bool,
) -> None:
    """Write a configuration file: ask where your models are, for the port, and who may reach the server.

    The file has only what differs from the defaults. It goes where `spoon` finds it from every folder
    (~/.config/automatic-spoon/spoon.toml); with --config or SPOON_CONFIG, to the place that they name, and
    the data will be beside it. With data in the current folder and no configuration yet, the file names them.

    \b
    Examples:
      spoon init
      spoon init --models ~/ComfyUI/models --port 7870 --reach this-machine
      spoon --config /srv/spoon/spoon.toml init --yes
    """
    file = (named_file(invocation.config, invocation.environ) or user_file()).absolute()
    if not is_forced:
        refuse_existing(file)
    wanted = None if reach is None else Reach(reach)
    answers = Questions(is_silent=is_sure).answers(folders, port, wanted, names)
    values, installation = values_of(answers), of_file(file)
    if installation.layout is Layout.USER and invocation.installation.layout is Layout.HERE:
        values |= own_folders(invocation.installation, invocation.environ)
        click.echo(f"keeping the data in {invocation.installation.base / 'data'}", err=True)
    write_configuration(file, configuration(values, installation), is_forced=is_forced)
    _warn(answers)
    _say_what_is_next(installation, file)


class Questions:
    """Asks for what no option has said, or takes the defaults."""

    def __init__(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent

    def answers(
        self, folders: tuple[Path, ...], port: int | None, reach: Reach | None, names: tuple[str, ...]
    ) -> Answers:
        """Everything that the file needs. Raises: UsageError, if options contradict or nobody answers."""
        if not folders:
            folders = self._ask("Folder with your models (Enter for none)", _no_folder_or_one, "")
        if port is None:
            port = self._ask("Port", _port_type, str(_PORT.default))
        if reach is None:
            reach = self._reach()
        if names and not ACCESS[reach].name_question:
            raise click.UsageError(f"--host-name is not for --reach {reach}")
        if (question := ACCESS[reach].name_question) and not names:
            default = socket.gethostname() if reach is Reach.NETWORK else None
            names = (self._ask(question, HostName(), default, option="--host-name"),)
        return Answers(folders, port, reach, names)

    def _reach(self) -> Reach:
        if not self._is_silent:
            for one, access in ACCESS.items():
                click.echo(f"  {one.value:<14}{access.description}", err=True)
        return Reach(self._ask("Who may reach the server", _reach_type, Reach.THIS_MACHINE.value))

    def _ask(
        self, question: str, converted: Callable[[str], Answer], default: str | None, option: str = "--yes"
    ) -> Answer:
        if self._is_silent:
            if default is None:
                raise click.UsageError(f"{option} is needed")
            return converted(default)
        try:
            answer: Answer = click.prompt(
                question, default=default, value_proc=converted, show_default=bool(default), err=True
            )
        except click.Abort:
            if sys.stdin.isatty():
                raise
            missing = f"--models, --port and --reach, or {option}" if default is not None else option
            raise click.UsageError(f"stdin is not a terminal; pass {missing}") from None
        return answer


def _no_folder_or_one(text: str) -> tuple[Path, ...]:
    return (ModelFolder()(text),) if text else ()


def _say_what_is_next(installation: Installation, file: Path) -> None:
    named = f"--config {shlex.quote(str(file))} " if installation.layout is Layout.BESIDE else ""
    click.echo(f"{file} is written; next: spoon {named}serve")


def _warn(answers: Answers) -> None:
    """What a person should know about the answers."""
    from api.cli.installation.port import bind_error

    access = ACCESS[answers.reach]
    if access.warning:
        click.echo(f"warning: {access.warning}", err=True)
    if answers.port and (reason := bind_error(access.host or "127.0.0.1", answers.port)):
        click.echo(f"warning: port {answers.port} cannot be used now: {reason}", err=True)
