"""`spoon queue`: pause and resume queues."""

from datetime import datetime

import click
import msgspec

from api.cli.client.client_models import Engine, find_engine
from api.cli.completion import engine_names
from api.cli.context import Invocation
from api.cli.options import json_option
from api.cli.output import print_json


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """The queues of all engines together."""

    waiting: int
    processing: int
    paused: bool
    paused_since: datetime | None = None


@click.group()
def queue() -> None:
    """Pause and resume queues, of one engine or of all.

    Jobs can still be submitted to a paused queue. Running jobs finish; waiting ones stay, also over restarts.
    """


@queue.command()
@json_option
@click.pass_obj
def show(invocation: Invocation, as_json: bool) -> None:
    """Show the number of open jobs, and whether all queues are paused.

    \b
    Example:
      spoon queue show
    """
    with invocation.rest() as rest:
        answer = rest.get("/v1/queue")
    _say(answer, None, as_json)


@queue.command()
@click.argument("engine", required=False, shell_complete=engine_names)
@json_option
@click.pass_obj
def pause(invocation: Invocation, engine: str | None, as_json: bool) -> None:
    """Pause the queue of ENGINE (an id or name), or all queues.

    \b
    Examples:
      spoon queue pause portraits
      spoon queue pause
    """
    _set(invocation, engine, "pause", as_json)


@queue.command()
@click.argument("engine", required=False, shell_complete=engine_names)
@json_option
@click.pass_obj
def resume(invocation: Invocation, engine: str | None, as_json: bool) -> None:
    """Resume the queue of ENGINE (an id or name), or end the pause of all.

    \b
    Examples:
      spoon queue resume portraits
      spoon queue resume
    """
    _set(invocation, engine, "resume", as_json)


def _set(invocation: Invocation, engine: str | None, verb: str, as_json: bool) -> None:
    with invocation.rest() as rest:
        path = "/v1/queue" if engine is None else f"/v1/engines/{find_engine(rest, engine).engine_id}"
        answer = rest.patch(f"{path}/{verb}")
    _say(answer, engine, as_json)


def _say(answer: bytes, engine: str | None, as_json: bool) -> None:
    from api.cli.client.rest import read

    if as_json:
        print_json(answer)
        return
    found = read(answer, QueueState) if engine is None else read(answer, Engine).queue
    state = "paused" if found and found.paused else "running"
    counts = f"{found.waiting} waiting, {found.processing} running" if found else ""
    click.echo(f"{engine or 'all queues'}: {state} ({counts})")
