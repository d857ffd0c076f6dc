"""`spoon status` and `spoon stop` ask the Manager over the bus, `spoon health` the REST API."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from api.cli.context import Invocation
from api.cli.exit_codes import ExitCode, TimedOut
from api.cli.options import duration, json_option
from api.cli.output import counted_jobs, print_struct, print_table, size
from conf.units import show_duration
from kernel.protocol.client import Shutdown
from kernel.protocol.errors import ManagerUnreachable
from kernel.protocol.status import ApiLife, Status

if TYPE_CHECKING:
    from api.cli.client.bus import ManagerConnection

_LOOK_S: Final = 0.25
_CLOSING_S: Final = 60.0
"""Time to shut down, on top of the grace for running jobs: killing workers, the last commit."""
_PATIENCE_S: Final = 5.0
"""Less than the time that whoever watches a container's health usually gives."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check."""

    ok: bool
    detail: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What the API says of the server's health."""

    status: str
    manager: Check
    database: Check
    disk: Check


@click.command()
@json_option
@click.pass_obj
def health(invocation: Invocation, as_json: bool) -> int:
    """Say whether the server accepts work, for whatever watches it.

    Asks the REST API. The exit code is 0 if it does, 8 if it does not (the output has the reasons), and 5 if
    there is no answer.

    \b
    Examples:
      spoon health
      spoon health --json
    """
    from api.cli.client.rest import read

    with invocation.rest(timeout_s=_PATIENCE_S) as rest:
        answer = read(rest.get_whatever_status("/v1/health/ready"), Readiness)
    if as_json:
        print_struct(answer)
    else:
        click.echo(answer.status.replace("_", " "))
        checks = {"manager": answer.manager, "database": answer.database, "disk": answer.disk}
        for name, check in checks.items():
            if not check.ok:
                click.echo(f"{name}: {check.detail}")
    return ExitCode.OK if answer.status == "ready" else ExitCode.TRY_LATER


@click.command()
@json_option
@click.pass_obj
def status(invocation: Invocation, as_json: bool) -> None:
    """Show the Manager's status: phase, queue, engines and devices.

    \b
    Examples:
      spoon status
      spoon status --json
    """
    with invocation.manager() as manager:
        answer = manager.status()
    if as_json:
        print_struct(answer)
        return
    uptime = show_duration(float(round(answer.uptime_s)))
    click.echo(f"Manager {answer.version}: {answer.phase}, pid {answer.pid}, up {uptime}")
    click.echo(f"jobs: {answer.jobs_processing} processing, {answer.jobs_waiting} waiting")
    standby = f", {answer.standbys} standby" if answer.standbys else ""
    click.echo(f"engines: {answer.engines_running} running{standby}")
    if answer.api is not None and answer.api.restarts:
        click.echo(_about_api(answer.api))
    if answer.internal_errors:
        last = f"latest in the server's log: error_id={answer.last_internal_error}"
        click.echo(f"internal errors: {answer.internal_errors} ({last})")
    if answer.is_disk_low:
        click.echo("warning: the disk is almost full; new jobs and downloads are refused")
    if answer.is_models_disk_low:
        click.echo("warning: the disk of models.folder is almost full; new downloads and uploads are refused")
    if answer.devices:
        rows = [(one.device, one.name, size(one.free_bytes), size(one.total_bytes)) for one in answer.devices]
        print_table(("DEVICE", "NAME", "FREE", "TOTAL"), rows)


def _about_api(api: ApiLife) -> str:
    """One line about an API that has crashed, whether or not it is running again."""
    times = "once" if api.restarts == 1 else f"{api.restarts} times"
    how = f"restarted {times} after a failure (last: {api.last_failure})"
    if api.is_running or api.next_start_s is None:
        return f"API: running, {how}"
    return f"API: not running, next start in {show_duration(float(round(api.next_start_s)))}, {how}"


@click.command()
@click.option(
    "--now", is_flag=True, help="Put running jobs back in the queue instead of waiting for them to finish."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=duration,
    help="Wait at most this long, e.g. 30s. The server keeps stopping after that. "
    "[default: shutdown.grace plus 1m]",
)
@click.pass_obj
def stop(invocation: Invocation, now: bool, timeout_s: float | None) -> None:
    """Stop the server and wait until it has exited.

    The server refuses new jobs and finishes running ones. Waiting jobs stay in the database.

    \b
    Examples:
      spoon stop
      spoon stop --now
      spoon stop --timeout 30s
    """
    limit_s = invocation.settings().shutdown.grace_s + _CLOSING_S if timeout_s is None else timeout_s
    with invocation.manager() as manager:
        before = manager.status()
        manager.ask(Shutdown(now=now))
        _await_end(invocation, manager, before, limit_s)
    click.echo("stopped")


def _await_end(invocation: Invocation, manager: "ManagerConnection", before: Status, limit_s: float) -> None:
    """Wait until the Manager's process has exited, and print what it waits for."""
    end = time.monotonic() + limit_s
    said = ""
    while is_alive(before.pid):
        if time.monotonic() > end:
            raise TimedOut(
                "the server is still stopping; run `spoon stop` to keep waiting, or `spoon stop --now`"
            )
        said = _say_progress(invocation, manager, said)
        time.sleep(_LOOK_S)


def _say_progress(invocation: Invocation, manager: "ManagerConnection", said: str) -> str:
    try:
        answer = manager.status(timeout_s=_LOOK_S)
    except ManagerUnreachable:
        return said
    running = answer.jobs_processing
    text = f"{answer.phase}: waiting for {counted_jobs(running)}" if running else f"{answer.phase}"
    if text != said:
        click.echo(text + (_time_left(invocation) if running else ""), err=True)
    return text


def _time_left(invocation: Invocation) -> str:
    """What the API says of the running jobs, if it still answers."""
    from api.cli.client.wait import time_left
    from api.cli.exit_codes import Refusal, ServerUnreachable

    with suppress(Refusal, ServerUnreachable), invocation.rest() as rest:
        return time_left(rest)
    return ""


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is running. A zombie is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # proc(5): the state follows the name in parentheses, which may itself hold parentheses.
        state = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[0]
        )
    except OSError:
        return False
    return state not in ("Z", "X")
