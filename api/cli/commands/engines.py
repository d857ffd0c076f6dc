"""`spoon engines`: create, edit, start, stop and delete engines."""

import sys
from typing import TYPE_CHECKING, Final

import click
import msgspec

from api.cli.client.client_models import Engine, EngineChecked, EngineLog, find_engine, list_items
from api.cli.completion import checkpoints, engine_names
from api.cli.context import Invocation
from api.cli.engine_options import Said, engine_edit, engine_edit_options, engine_input, engine_options
from api.cli.exit_codes import Refusal
from api.cli.job_options import in_options
from api.cli.options import (
    WordChoice,
    all_option,
    confirm,
    json_option,
    limit_option,
    yes_option,
)
from api.cli.output import print_json, print_table, print_thing, printable, size
from kernel.protocol.enums import EngineState
from kernel.protocol.type_info import analyzed

if TYPE_CHECKING:
    from api.cli.client.rest import Rest

KEEP: Final = "keep"
DELETE: Final = "delete"


@click.group()
def engines() -> None:
    """Create, edit, start, stop and delete engines.

    An engine runs jobs with one checkpoint. Its settings are the defaults of its jobs.
    """


@engines.command("list")
@click.option("--status", type=WordChoice(EngineState), help="List only engines with this status.")
@limit_option
@all_option
@json_option
@click.pass_obj
def list_(invocation: Invocation, status: str | None, limit: int, is_all: bool, as_json: bool) -> None:
    """List engines, newest first.

    \b
    Examples:
      spoon engines list
      spoon engines list --status ready --json
    """
    with invocation.rest() as rest:
        items = list_items(rest, "/v1/engines", {"status": status}, None if is_all else limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    rows = []
    for engine in (msgspec.json.decode(item, type=analyzed(Engine)) for item in items):
        queue = f"{engine.queue.processing}+{engine.queue.waiting}" if engine.queue else None
        queue = f"{queue} (paused)" if engine.queue and engine.queue.paused else queue
        checkpoint = engine.names.get(engine.checkpoint or "", engine.checkpoint)
        rows.append((engine.engine_id, engine.name, _status(engine), engine.device, queue, checkpoint))
    print_table(("ID", "NAME", "STATUS", "DEVICE", "RUNNING+WAITING", "CHECKPOINT"), rows)


def _status(engine: Engine) -> str:
    if engine.waiting_for_room:
        return f"{engine.status}, waiting for memory"
    waits = engine.waiting_for_capacity is not None
    return f"{engine.status}, waiting for a worker" if waits else engine.status


@engines.command()
@click.argument("engine", shell_complete=engine_names)
@json_option
@click.pass_obj
def show(invocation: Invocation, engine: str, as_json: bool) -> None:
    """Show the details of ENGINE (an id or name).

    \b
    Example:
      spoon engines show portraits
    """
    from api.cli.client.rest import quoted

    with invocation.rest() as rest:
        body = rest.get(f"/v1/engines/{quoted(find_engine(rest, engine).engine_id)}")
    (print_json if as_json else print_thing)(body)


@engines.command()
@click.argument("checkpoint", shell_complete=checkpoints)
@engine_options
@click.option(
    "--wait", "is_waiting", is_flag=True, help="Wait until the engine is ready, at most 15 minutes."
)
@click.option("--validate-only", is_flag=True, help="Only check it, and say whether its memory is there.")
@json_option
@click.pass_obj
def create(
    invocation: Invocation,
    /,
    checkpoint: str,
    is_waiting: bool,
    validate_only: bool,
    as_json: bool,
    **said: Said,
) -> None:
    """Create an engine from CHECKPOINT (a model's id or name) and start it.

    \b
    Examples:
      spoon engines create dreams --name portraits --steps 30 --wait
      spoon engines create dreams --device cpu --no-start
      spoon engines create dreams --max-batch 4 --validate-only
      spoon engines create dreams --lora detail:0.6 --control-model poses --long-prompt-technique sd_embed
    """
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        try:
            query = {"validate_only": "true"} if validate_only else None
            answer = rest.post("/v1/engines", engine_input(checkpoint, said), query)
        except Refusal as refusal:
            raise refusal.reworded(in_options) from refusal
        if validate_only:
            _say_checked(answer, as_json)
            return
        if is_waiting and said["start"]:
            from api.cli.client.wait import await_running

            answer = await_running(rest, read(answer, Engine))
    _say(answer, as_json)


@engines.command()
@click.argument("engine", shell_complete=engine_names)
@click.option(
    "-m",
    "--checkpoint",
    metavar="MODEL",
    shell_complete=checkpoints,
    help="Checkpoint (an id or name) to load instead.",
)
@engine_edit_options
@click.option(
    "--wait", "is_waiting", is_flag=True, help="If it reloads, wait until it is ready, at most 15 minutes."
)
@json_option
@click.pass_obj
def edit(
    invocation: Invocation,
    /,
    engine: str,
    is_waiting: bool,
    as_json: bool,
    unset: tuple[str, ...],
    **said: Said,
) -> None:
    """Change ENGINE (an id or name), also while it runs.

    What you do not give stays. Lists, such as LoRAs, are replaced as a whole. A running engine loads its
    checkpoint again only for another checkpoint, device or precision, or for want of memory; its running
    jobs finish first. Waiting jobs stay.

    \b
    Examples:
      spoon engines edit portraits --steps 30 --lora detail:0.6
      spoon engines edit portraits --unset vae --unset lora
      spoon engines edit portraits --checkpoint dreams --wait
    """
    from api.cli.client.rest import quoted, read

    body = engine_edit(said, unset)
    with invocation.rest() as rest:
        path = f"/v1/engines/{quoted(find_engine(rest, engine).engine_id)}"
        try:
            answer = rest.patch(path, body=body)
        except Refusal as refusal:
            raise refusal.reworded(in_options) from refusal
        edited = read(answer, Engine)
        if edited.reloads and not as_json:
            click.echo("the engine loads its checkpoint again after its running jobs", err=True)
        if edited.reloads and is_waiting:
            from api.cli.client.wait import await_running

            answer = await_running(rest, edited)
    _say(answer, as_json)


@engines.command()
@click.argument("engine", shell_complete=engine_names)
@click.option(
    "--wait", "is_waiting", is_flag=True, help="Wait until the engine is ready, at most 15 minutes."
)
@json_option
@click.pass_obj
def start(invocation: Invocation, engine: str, is_waiting: bool, as_json: bool) -> None:
    """Start ENGINE (an id or name) and keep it loaded until you stop it.

    \b
    Example:
      spoon engines start portraits --wait
    """
    from api.cli.client.rest import quoted, read
    from api.cli.client.wait import await_running

    with invocation.rest() as rest:
        engine_id = find_engine(rest, engine).engine_id
        answer = rest.patch(f"/v1/engines/{quoted(engine_id)}/start")
        answer = await_running(rest, read(answer, Engine)) if is_waiting else answer
    _say(answer, as_json)


@engines.command()
@click.argument("engine", shell_complete=engine_names)
@click.option(
    "--now", is_flag=True, help="Put running jobs back in the queue instead of waiting for them to finish."
)
@click.option("--wait", "is_waiting", is_flag=True, help="Wait until the engine is closed.")
@json_option
@click.pass_obj
def stop(invocation: Invocation, engine: str, now: bool, is_waiting: bool, as_json: bool) -> None:
    """Stop ENGINE (an id or name) after its running jobs finish. Waiting jobs stay in the queue.

    \b
    Examples:
      spoon engines stop portraits
      spoon engines stop portraits --now --wait
    """
    from api.cli.client.rest import quoted
    from api.cli.client.wait import await_closed

    with invocation.rest() as rest:
        engine_id = find_engine(rest, engine).engine_id
        answer = rest.patch(f"/v1/engines/{quoted(engine_id)}/stop", {"now": "true"} if now else None)
        answer = await_closed(rest, engine_id) if is_waiting else answer
    _say(answer, as_json)


@engines.command()
@click.argument("engine", shell_complete=engine_names)
@click.option("-n", "--lines", type=click.IntRange(1, 1_000), default=100, help="How many of the last lines.")
@json_option
@click.pass_obj
def log(invocation: Invocation, engine: str, lines: int, as_json: bool) -> None:
    """Print the end of the log of the last worker of ENGINE (an id or name), also of one that crashed.

    --json has the logs of its last four workers on the server's machine.

    \b
    Example:
      spoon engines log portraits --lines 20
    """
    from api.cli.client.rest import quoted, read

    with invocation.rest() as rest:
        engine_id = find_engine(rest, engine).engine_id
        answer = rest.get(f"/v1/engines/{quoted(engine_id)}/log", {"lines": str(lines)})
    if as_json:
        print_json(answer)
        return
    for text in next((one.lines for one in read(answer, EngineLog).items), ()):
        click.echo(printable(text))


@engines.command()
@click.argument("engine", shell_complete=engine_names)
@click.option(
    "--images",
    type=click.Choice([KEEP, DELETE]),
    help="Keep its images (and the jobs that have some), or delete them. [default: ask; with --yes, delete]",
)
@yes_option
@click.pass_obj
def delete(invocation: Invocation, engine: str, images: str | None, is_sure: bool) -> None:
    """Delete ENGINE (an id or name) with its jobs, and its images unless you keep them. Stop it first.

    \b
    Examples:
      spoon engines delete portraits --images keep
      spoon engines delete portraits --images delete --yes
    """
    from api.cli.client.rest import quoted

    with invocation.rest() as rest:
        found = find_engine(rest, engine)
        name = found.name or found.engine_id
        if images is None and not is_sure and sys.stdin.isatty() and _has_images(rest, found.engine_id):
            images = click.prompt("Its images", type=click.Choice([KEEP, DELETE]))
        with_images = "and keep its images" if images == KEEP else "with all its jobs and images"
        confirm(f"Delete engine {name} {with_images}?", is_sure=is_sure)
        rest.delete(f"/v1/engines/{quoted(found.engine_id)}", {"images": images or DELETE})
    click.echo(f"deleted {name}")


def _has_images(rest: "Rest", engine_id: str) -> bool:
    return bool(list_items(rest, "/v1/images", {"engine_id": engine_id, "gone": "false"}, 1))


def _say_checked(answer: bytes, as_json: bool) -> None:
    """Whether and how a checked engine fits, one line for each device."""
    from api.cli.client.rest import read

    if as_json:
        print_json(answer)
        return
    checked = read(answer, EngineChecked)
    for one in checked.devices:
        how = f"it would get {size(one.taken_bytes)} for {one.images} images at once"
        fits = how if one.taken_bytes is not None else f"it needs at least {size(one.needed_bytes)}"
        click.echo(f"{one.device}: {fits}; {size(one.free_bytes)} of {size(one.total_bytes)} are left")
    closing = f"fits once {len(checked.closes)} idle engines are closed for it"
    click.echo(checked.detail or (closing if checked.closes else "fits"))


def _say(answer: bytes, as_json: bool) -> None:
    from api.cli.client.rest import read

    if as_json:
        print_json(answer)
        return
    engine = read(answer, Engine)
    click.echo(f"{engine.engine_id}  {engine.name or '-'}: {engine.status}")
