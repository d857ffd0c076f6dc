"""`spoon workers`: the workers of this server and of its pools, and the tokens with which they join."""

from pathlib import Path
from typing import Final

import click
import msgspec

from api.cli.client.client_models import list_items
from api.cli.context import Invocation
from api.cli.options import (
    STDOUT,
    check_out,
    confirm,
    duration,
    json_option,
    limit_option,
    out_option,
    yes_option,
)
from api.cli.output import Cell, print_json, print_table, print_thing, size, when, write_secret
from kernel.protocol.errors import InternalError

PATH: Final = "/v1/workers"
TOKENS: Final = "/v1/workers/tokens"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device of a worker's host."""

    name: str
    free_bytes: int


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker as the server shows it."""

    worker_id: str
    state: str
    pool: str | None
    host: str | None
    version: str | None
    cordoned: bool
    devices: tuple[Device, ...]
    engine_id: str | None
    job_ids: tuple[str, ...]
    latency_ms: float | None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that has ended."""

    worker_id: str
    pool: str | None
    host: str | None
    ended_at: str
    last_words: str


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that there are, and the last that have ended."""

    items: tuple[Worker, ...]
    ended: tuple[Ended, ...]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An enrollment token as the server shows it."""

    token_id: str
    pool: str
    status: str
    max_workers: int | None
    created_at: str
    expires_at: str | None
    used_at: str | None
    token: str | None = None


@click.group()
def workers() -> None:
    """Manage the workers of this server and of its pools.

    A pool is a name for workers that other hosts run (`spoon worker`). They join with an enrollment token of
    the pool, and serve the engines that are created with --pool.

    \b
    Quick start:
      spoon workers token create --pool gpu-lab --out gpu-lab.token
      spoon engines create CHECKPOINT --pool gpu-lab
      spoon worker --token-file gpu-lab.token --manager tcp://192.168.1.2:7871     (on the other host)
    """


@workers.command("list")
@click.option("--pool", metavar="NAME", help="Only those of this pool.")
@click.option(
    "--ended", is_flag=True, help="Instead, the last workers that have ended, with their last words."
)
@json_option
@click.pass_obj
def list_(invocation: Invocation, pool: str | None, ended: bool, as_json: bool) -> None:
    """List workers: where they run, what they serve, and how far away they are.

    \b
    Examples:
      spoon workers list
      spoon workers list --pool gpu-lab --ended
    """
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        answer = rest.get(PATH, {"pool": pool})
    if as_json:
        print_json(answer)
        return
    found = read(answer, Workers)
    if ended:
        rows = [
            (one.worker_id, one.pool, one.host, when(one.ended_at), one.last_words) for one in found.ended
        ]
        print_table(("WORKER", "POOL", "HOST", "ENDED", "LAST WORDS"), rows, is_wrapped=True)
    else:
        titles = (
            "WORKER",
            "POOL",
            "HOST",
            "STATE",
            "DEVICES",
            "FREE",
            "JOBS",
            "LATENCY",
            "VERSION",
            "ENGINE",
        )
        print_table(titles, map(_cells, found.items))


def _cells(one: Worker) -> tuple[Cell, ...]:
    gpus = [device for device in one.devices if device.name != "CPU"] or list(one.devices)
    return (
        one.worker_id,
        one.pool,
        one.host,
        f"{one.state} (cordoned)" if one.cordoned else one.state,
        ", ".join(device.name for device in gpus) or None,
        size(sum(device.free_bytes for device in gpus)) if gpus else None,
        len(one.job_ids),
        None if one.latency_ms is None else f"{one.latency_ms:.1f} ms",
        one.version,
        one.engine_id,
    )


@workers.command()
@click.argument("worker")
@json_option
@click.pass_obj
def show(invocation: Invocation, worker: str, as_json: bool) -> None:
    """Show the worker WORKER (an id).

    \b
    Example:
      spoon workers show w3-1
    """
    with invocation.rest() as rest:
        answer = rest.get(_path(worker))
    if as_json:
        print_json(answer)
    else:
        print_thing(answer)


@workers.command()
@click.argument("worker")
@click.pass_obj
def cordon(invocation: Invocation, worker: str) -> None:
    """Give the worker WORKER of a pool nothing more. It finishes what it has, and keeps its model.

    \b
    Example:
      spoon workers cordon w3-1
    """
    _change(invocation, worker, {"cordoned": True}, "cordoned")


@workers.command()
@click.argument("worker")
@click.pass_obj
def uncordon(invocation: Invocation, worker: str) -> None:
    """Give the worker WORKER of a pool work again.

    \b
    Example:
      spoon workers uncordon w3-1
    """
    _change(invocation, worker, {"cordoned": False}, "uncordoned")


@workers.command()
@click.argument("worker")
@click.pass_obj
def drain(invocation: Invocation, worker: str) -> None:
    """Let the worker WORKER of a pool finish its jobs and leave for good: `spoon worker` ends on its host.

    \b
    Example:
      spoon workers drain w3-1
    """
    _change(invocation, worker, {"drain": True}, "draining")


@workers.command()
@click.argument("worker")
@yes_option
@click.pass_obj
def revoke(invocation: Invocation, worker: str, is_sure: bool) -> None:
    """Cut off the worker WORKER of a pool now. Its jobs go to others.

    Its host still has the token: `spoon workers token revoke` keeps it from coming back.

    \b
    Example:
      spoon workers revoke w3-1
    """
    confirm(f"Cut off the worker {worker}?", is_sure=is_sure)
    with invocation.rest() as rest:
        rest.delete(_path(worker))
    click.echo(f"revoked {worker}")


def _change(invocation: Invocation, worker: str, body: dict[str, object], done: str) -> None:
    with invocation.rest() as rest:
        rest.patch(_path(worker), body=body)
    click.echo(f"{done} {worker}")


def _path(worker: str) -> str:
    from api.cli.client.rest import quoted

    return f"{PATH}/{quoted(worker)}"


@workers.group()
def token() -> None:
    """Create and revoke the tokens with which workers join a pool."""


@token.command("create")
@click.option("--pool", required=True, metavar="NAME", help="The pool that workers join with it.")
@click.option(
    "--expires",
    "expires_in_s",
    type=duration,
    help="How long it admits workers, e.g. 30d. [default: forever]",
)
@click.option(
    "--max",
    "max_workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many workers may have joined with it at a time. [default: any number]",
)
@out_option(
    click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    "Write the token to this new file, which only you can read. [default: stdout]",
)
@json_option
@click.pass_obj
def create_token(
    invocation: Invocation,
    pool: str,
    expires_in_s: float | None,
    max_workers: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Create an enrollment token of a pool and show it, this once: the server keeps only a digest.

    Any number of hosts may use it, again and again, until it expires or is revoked.

    \b
    Examples:
      spoon workers token create --pool gpu-lab --out gpu-lab.token
      spoon workers token create --pool gpu-lab --expires 7d --max 4
    """
    from api.cli.client.rest import read

    check_out(out, as_json=as_json)
    body = {"pool": pool, "expire_after": expires_in_s, "max_workers": max_workers}
    with invocation.rest() as rest:
        answer = rest.post(TOKENS, {name: value for name, value in body.items() if value is not None})
    made = read(answer, Token)
    if made.token is None:
        raise InternalError("the token was made, but lost on its way: create another one")
    if out not in (None, STDOUT):
        write_secret(out, f"{made.token}\n".encode())
        click.echo(f"saved {out}", err=as_json)
    if as_json:
        print_json(answer)
    elif out in (None, STDOUT):
        click.echo(made.token)
        click.echo("keep it well: it cannot be shown again", err=True)


@token.command("list")
@limit_option
@json_option
@click.pass_obj
def list_tokens(invocation: Invocation, limit: int, as_json: bool) -> None:
    """List enrollment tokens, newest first, also expired and revoked ones.

    \b
    Example:
      spoon workers token list
    """
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        items = list_items(rest, TOKENS, {}, limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    found = [read(item, Token) for item in items]
    titles = ("POOL", "STATUS", "MAX", "CREATED", "EXPIRES", "LAST USED", "ID")
    print_table(titles, map(_token_cells, found))


def _token_cells(one: Token) -> tuple[Cell, ...]:
    times = (when(one.created_at), when(one.expires_at), when(one.used_at))
    return (one.pool, one.status, one.max_workers, *times, one.token_id)


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@yes_option
@click.pass_obj
def revoke_token(invocation: Invocation, token_id: str, is_sure: bool) -> None:
    """Make the enrollment token ID invalid, at once and for good, and cut off its workers.

    \b
    Example:
      spoon workers token revoke 01981c3e-5f7a-7c3b-9d51-2f0a6c1b8e44
    """
    from api.cli.client.rest import quoted

    confirm(f"Revoke the token {token_id}, and cut off its workers?", is_sure=is_sure)
    with invocation.rest() as rest:
        rest.delete(f"{TOKENS}/{quoted(token_id)}")
    click.echo(f"revoked {token_id}")
