"""`spoon keys`: create, list, change, rotate and revoke API keys, on the server's own machine.

The Manager makes keys and answers over the bus, to which only the server's user has access; so the first key
needs no key, nor a server that runs. Lists are read from the database.
"""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click
import msgspec
from msgspec.structs import fields

from api.cli.commands.processes import config_option, python
from api.cli.context import Invocation
from api.cli.options import (
    STDOUT,
    WordChoice,
    check_out,
    confirm,
    duration,
    json_option,
    out_option,
    yes_option,
)
from api.cli.output import Cell, print_json, print_struct, print_table, print_thing, when, write_secret
from kernel.process.lock import FolderLock
from kernel.protocol.api_keys import (
    ChangeKey,
    CreateKey,
    KeyAsk,
    KeyIssued,
    KeyLimits,
    RevokeKey,
    RotateKey,
)
from kernel.protocol.client import BrokerReply, Refused, SingleReply
from kernel.protocol.enums import Role
from kernel.protocol.errors import AlreadyRunning, BadMessage, DatabaseUnusable, InternalError, KeyNotFound
from kernel.protocol.refusals import error_of
from kernel.protocol.rows import KeyRow
from kernel.protocol.type_info import analyzed

if TYPE_CHECKING:
    from api.http.contract.key_types import Key
    from kernel.views.reader import Reader

_NONE: Final = "none"
_LIMITS: Final = {
    "max_waiting_jobs": "Maximum number of waiting jobs.",
    "max_running_jobs": "Maximum number of jobs that run at once; further ones wait.",
    "max_images_a_day": "Maximum number of images within 24 hours.",
    "max_pixels": "Maximum number of pixels of an image (width x height).",
    "max_pixels_a_day": "Maximum number of pixels of all images within 24 hours.",
    "max_requests_a_minute": "Maximum number of requests within a minute, on average.",
}
Command = TypeVar("Command", bound=Callable[..., None])


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key with --json."""

    key_id: str
    name: str
    key: str


@click.group()
def keys() -> None:
    """Create and manage the API keys of this server.

    Once there is a key, every request to the REST API needs one. These commands need none: they work on the
    server's own machine, for the user that it runs as.

    \b
    Roles:
      admin   everything
      user    submit jobs; see and change only its own jobs and images
      viewer  see everything, change nothing
    """


def _limit_options(kind: object, note: str = "") -> Callable[[Command], Command]:
    """An option for each limit of a key."""

    def with_options(command: Command) -> Command:
        for field in reversed(fields(KeyLimits)):
            option = f"--{field.name.replace('_', '-')}"
            command = click.option(option, type=kind, metavar="N", help=_LIMITS[field.name] + note)(command)
        return command

    return with_options


def _limit_or_none(text: str) -> int | str:
    """A positive number, or `none`; click names the type after this function."""
    if text == _NONE:
        return _NONE
    if not (text.isascii() and text.isdigit() and int(text)):
        raise click.BadParameter(f"{text!r} is neither a positive number nor {_NONE}")
    return int(text)


def _weight_option(note: str = "") -> Callable[[Command], Command]:
    text = f"Its share of the turns when jobs of several keys wait for an engine.{note}"
    return click.option("--weight", type=click.IntRange(1, 1_000), metavar="N", help=text)


_out = out_option(
    click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    "Write the key to this new file, which only you can read. [default: stdout]",
)


@keys.command()
@click.argument("name")
@click.option("--role", type=WordChoice(Role), required=True, help="What its holder may do.")
@click.option(
    "--expires", "expires_in_s", type=duration, help="How long it is valid, e.g. 30d. [default: forever]"
)
@_weight_option(" [default: 1]")
@_limit_options(click.IntRange(min=1))
@_out
@json_option
@click.pass_obj
def create(
    invocation: Invocation,
    /,
    name: str,
    role: str,
    expires_in_s: float | None,
    weight: int | None,
    out: Path | None,
    as_json: bool,
    **limits: int | None,
) -> None:
    """Create an API key called NAME and show it, this once: the server keeps only a digest.

    \b
    Examples:
      spoon keys create me --role admin --out my.key
      spoon keys create alice --role user --expires 30d --max-images-a-day 200
    """
    check_out(out, as_json=as_json)
    found = KeyLimits(**limits)
    ask = CreateKey(name=name, role=Role(role), expires_in_s=expires_in_s, weight=weight or 1, limits=found)
    is_first = not _has_keys(invocation)
    reply = _ask(invocation, ask)
    _show_issued(reply, name, out, as_json=as_json)
    if is_first:
        click.echo("this is the first key: from now on the REST API is used with a key only", err=True)


@keys.command("list")
@json_option
@click.pass_obj
def list_(invocation: Invocation, as_json: bool) -> None:
    """List all API keys, newest first, also expired and revoked ones.

    \b
    Example:
      spoon keys list
    """
    found = _all_keys(invocation)
    if as_json:
        print_json(msgspec.json.encode({"items": found}))
    else:
        print_table(("NAME", "ROLE", "STATUS", "CREATED", "EXPIRES", "ID"), map(_cells, found))


@keys.command()
@click.argument("key")
@json_option
@click.pass_obj
def show(invocation: Invocation, key: str, as_json: bool) -> None:
    """Show the API key KEY (an id or name), without its secret.

    \b
    Example:
      spoon keys show alice
    """
    _say(invocation, key, as_json)


@keys.command()
@click.argument("key")
@click.option("--name", help="Another name.")
@click.option("--role", type=WordChoice(Role), help="Another role.")
@_weight_option()
@_limit_options(_limit_or_none, f" {_NONE}: no limit.")
@json_option
@click.pass_obj
def change(
    invocation: Invocation,
    /,
    key: str,
    name: str | None,
    role: str | None,
    weight: int | None,
    as_json: bool,
    **limits: int | str | None,
) -> None:
    """Change the name, role, weight or limits of the API key KEY (an id or name).

    \b
    Examples:
      spoon keys change alice --role admin
      spoon keys change alice --max-images-a-day none --max-waiting-jobs 20
    """
    row = _find(invocation, key)
    said = {field: value for field, value in limits.items() if value is not None}
    ask = ChangeKey(
        key_id=row.key_id,
        name=name,
        role=None if role is None else Role(role),
        weight=weight,
        fields=tuple(said),
        limits=KeyLimits(**{field: value for field, value in said.items() if isinstance(value, int)}),
    )
    _ask(invocation, ask)
    _say(invocation, row.key_id, as_json)


@keys.command()
@click.argument("key")
@click.option(
    "--expires",
    "expires_in_s",
    type=duration,
    help="How long the new one is valid, e.g. 30d. [default: as long as the old one was to be]",
)
@_out
@json_option
@click.pass_obj
def rotate(
    invocation: Invocation, key: str, expires_in_s: float | None, out: Path | None, as_json: bool
) -> None:
    """Replace the secret of the API key KEY (an id or name) and show the new one, this once.

    The old one is invalid at once. Jobs, images and limits stay with the key.

    \b
    Example:
      spoon keys rotate alice --out alice.key
    """
    check_out(out, as_json=as_json)
    row = _find(invocation, key)
    ask = RotateKey(key_id=row.key_id, expires_in_s=expires_in_s)
    _show_issued(_ask(invocation, ask), row.name, out, as_json=as_json)


@keys.command()
@click.argument("key")
@yes_option
@click.pass_obj
def revoke(invocation: Invocation, key: str, is_sure: bool) -> None:
    """Make the API key KEY (an id or name) invalid, at once and for good. Its jobs and images stay.

    \b
    Example:
      spoon keys revoke alice
    """
    row = _find(invocation, key)
    if row.revoked_at_ms is None:
        confirm(f"Revoke the key {row.name} ({row.role})?", is_sure=is_sure)
        _ask(invocation, RevokeKey(key_id=row.key_id))
    click.echo(f"revoked {row.name}")


def _ask(invocation: Invocation, ask: KeyAsk) -> BrokerReply:
    """The reply of the Manager, or of one that is started for this alone while none runs.

    Raises: the error that its refusal represents; ManagerUnreachable, if one runs and does not answer.
    """
    try:
        FolderLock(invocation.settings().database.folder).release()
    except AlreadyRunning:
        with invocation.manager() as manager:
            return manager.ask(ask)
    command, said = python("kernel.main", "--answer", *config_option(invocation)), msgspec.msgpack.encode(ask)
    environ = dict(invocation.environ)
    ended = subprocess.run(command, input=said, stdout=subprocess.PIPE, env=environ, check=False)
    if ended.returncode:
        raise DatabaseUnusable("nothing was changed: the message above has the reason")
    reply: SingleReply = msgspec.msgpack.decode(ended.stdout, type=analyzed(SingleReply))
    if isinstance(reply, Refused):
        raise error_of(reply)
    return reply


def _show_issued(reply: BrokerReply, name: str, out: Path | None, *, as_json: bool) -> None:
    """Show a new key, or save it."""
    if not isinstance(reply, KeyIssued):
        raise BadMessage(f"unexpected reply from the Manager: {type(reply).__name__} instead of a key")
    if reply.text is None:
        raise InternalError(f"the key was made, but lost on its way: run `spoon keys rotate {name}`")
    if out not in (None, STDOUT):
        write_secret(out, f"{reply.text}\n".encode())
        click.echo(f"saved {out}", err=as_json)
    if as_json:
        print_struct(IssuedKey(key_id=reply.key_id, name=name, key=reply.text))
    elif out in (None, STDOUT):
        click.echo(reply.text)
        click.echo("keep it well: it cannot be shown again", err=True)


def _say(invocation: Invocation, key: str, as_json: bool) -> None:
    found = _shown(_find(invocation, key))
    if as_json:
        print_struct(found)
    else:
        print_thing(msgspec.json.encode(found))


def _shown(row: KeyRow) -> "Key":
    from api.http.contract.key_types import key_of

    return key_of(row, time.time_ns() // 1_000_000)


def _cells(key: "Key") -> tuple[Cell, ...]:
    expires = None if key.expires_at is None else when(key.expires_at.isoformat())
    return (key.name, key.role, key.status, when(key.created_at.isoformat()), expires, key.key_id)


def _find(invocation: Invocation, key: str) -> KeyRow:
    """The key with this id or name. Raises: KeyNotFound."""
    from kernel.views.keys import key_called

    if (row := key_called(_reader(invocation), key)) is None:
        raise KeyNotFound(f"no API key with id or name {key}: see `spoon keys list`")
    return row


def _has_keys(invocation: Invocation) -> bool:
    from kernel.views.keys import has_keys

    try:
        return has_keys(_reader(invocation))
    except DatabaseUnusable:  # before the first start, and the one after an upgrade
        return False


def _all_keys(invocation: Invocation) -> "tuple[Key, ...]":
    from kernel.views.keys import all_keys

    return tuple(map(_shown, all_keys(_reader(invocation))))


def _reader(invocation: Invocation) -> "Reader":
    from kernel.views.reader import Reader

    return Reader(invocation.settings().database_file)
