"""`spoon doctor`: what is there, what is missing, and how to get it."""

from collections.abc import Iterator

import click
import msgspec

from api.admin.diagnosis import Finding, Verdict
from api.admin.exits import ExitCode, Refusal, ServerUnreachable
from api.admin.invocation import Invocation
from api.admin.options import json_option
from api.admin.output import print_json, print_table
from conf.settings import Settings
from kernel.protocol.errors import SpoonError


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Look at everything the server needs, and say what is missing and how to get it.

    Python, every package, SQLite, what background removal and the detectors of control maps need, the
    folders, the disk, the port, the sockets, the GPU, and whether the server runs. The exit code is 1 when
    something is missing that is needed.

    \b
    Examples:
      spoon doctor
      spoon --config my.toml doctor --json
    """
    invocation = context.find_object(Invocation)
    assert invocation is not None
    found = list(_findings(invocation, invocation.settings()))
    if as_json:
        print_json(msgspec.json.encode(found))
    else:
        print_table(("", "WHAT", "FOUND"), [(one.verdict, one.subject, one.found) for one in found])
        for one in found:
            if one.remedy:
                click.echo(f"{one.subject}: {one.remedy}")
    is_missing = any(one.verdict is Verdict.MISSING for one in found)
    context.exit(ExitCode.FAILURE if is_missing else ExitCode.OK)


def _findings(invocation: Invocation, settings: Settings) -> Iterator[Finding]:
    from api.admin.features import features
    from api.admin.machine import machine
    from api.admin.software import software

    are_workers_local = settings.bus.workers_endpoint is None
    yield from software(are_workers_local)
    if are_workers_local:
        yield from features(settings.detectors_folder)
    manager, api = _manager(invocation), _api(invocation)
    yield from machine(settings, is_ours=api.verdict is Verdict.OK)
    yield manager
    yield api


def _manager(invocation: Invocation) -> Finding:
    try:
        with invocation.manager() as line:
            status = line.status()
    except (SpoonError, ImportError) as error:
        return Finding(subject="Manager", verdict=Verdict.NOTE, found=str(error))
    return Finding(
        subject="Manager", verdict=Verdict.OK, found=f"{status.phase}, {status.version}, process {status.pid}"
    )


def _api(invocation: Invocation) -> Finding:
    try:
        with invocation.rest() as rest:
            rest.get("/v1/health/live")
    except ServerUnreachable as error:
        return Finding(subject="REST API", verdict=Verdict.NOTE, found=str(error))
    except (Refusal, ImportError) as error:
        return Finding(
            subject="REST API", verdict=Verdict.NOTE, found=f"does not answer as it should: {error}"
        )
    return Finding(subject="REST API", verdict=Verdict.OK, found=f"answers at {invocation.base_url()}")
