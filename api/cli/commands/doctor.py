"""`spoon doctor`: check the installation and name the remedy for each problem."""

from collections.abc import Iterator, Sequence

import click
import msgspec

from api.cli.context import Invocation
from api.cli.exit_codes import ExitCode, Refusal, ServerUnreachable
from api.cli.options import json_option
from api.cli.output import print_json, print_table
from api.installation.diagnosis import CheckResult, Verdict
from conf.settings import Settings
from kernel.protocol.errors import SpoonError


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check the installation and say how to fix what is missing.

    Checks the program's own files, Python, packages, SQLite, background removal, control-map detectors,
    folders, disk space, the port, socket paths, GPUs, and whether the server is running. The exit code is 1
    if a requirement is not met.

    \b
    Examples:
      spoon doctor
      spoon --config my.toml doctor --json
    """
    invocation = context.find_object(Invocation)
    assert invocation is not None
    found = list(_results(invocation, invocation.settings()))
    if as_json:
        print_json(msgspec.json.encode(found))
    else:
        print_table(
            ("STATUS", "CHECK", "RESULT"),
            [(one.verdict, one.subject, one.found) for one in found],
            is_wrapped=True,
        )
        for remedy, subjects in remedies(found).items():
            click.echo(f"{', '.join(subjects)}: {remedy}")
        click.echo(_sum_of(found))
    is_missing = any(one.verdict is Verdict.MISSING for one in found)
    context.exit(ExitCode.FAILURE if is_missing else ExitCode.OK)


def remedies(found: Sequence[CheckResult]) -> dict[str, list[str]]:
    """What each remedy is for; those of requirements come last, where they are seen."""
    required = {one.remedy for one in found if one.verdict is Verdict.MISSING}
    named: dict[str, list[str]] = {}
    for one in sorted(found, key=lambda one: one.remedy in required):
        if one.remedy:
            named.setdefault(one.remedy, []).append(one.subject)
    return named


def _sum_of(found: Sequence[CheckResult]) -> str:
    """All results in one sentence."""
    missing, notes = (sum(one.verdict is kind for one in found) for kind in (Verdict.MISSING, Verdict.NOTE))
    noted = f"; {notes} {'note' if notes == 1 else 'notes'}" if notes else ""
    if not missing:
        return f"{len(found)} checks: nothing required is missing{noted}"
    what = "requirement is" if missing == 1 else "requirements are"
    return f"{len(found)} checks: {missing} {what} missing{noted}"


def _results(invocation: Invocation, settings: Settings) -> Iterator[CheckResult]:
    from api.cli.installation.port import port
    from api.installation.features import features, opencv_here
    from api.installation.machine import configuration, gpus, storage
    from api.installation.own_files import own_files
    from api.installation.software import software

    yield configuration(invocation.installation)
    are_workers_local = settings.bus.workers_endpoint is None
    yield own_files()
    yield from software(are_workers_local)
    if are_workers_local:
        yield from features(settings.detectors_folder)
        yield opencv_here()
    manager, api = _manager(invocation), _api(invocation)
    yield from storage(settings)
    yield port(settings, is_running=manager.verdict is Verdict.OK)
    yield from gpus()
    yield manager
    yield api


def _manager(invocation: Invocation) -> CheckResult:
    try:
        with invocation.manager() as manager:
            status = manager.status()
    except (SpoonError, ImportError) as error:
        return CheckResult(subject="Manager", verdict=Verdict.NOTE, found=str(error))
    return CheckResult(
        subject="Manager",
        verdict=Verdict.OK,
        found=f"{status.phase}, version {status.version}, pid {status.pid}",
    )


def _api(invocation: Invocation) -> CheckResult:
    try:
        with invocation.rest() as rest:
            rest.get("/v1/health/live")
    except ServerUnreachable as error:
        return CheckResult(subject="REST API", verdict=Verdict.NOTE, found=str(error))
    except (Refusal, ImportError) as error:
        return CheckResult(subject="REST API", verdict=Verdict.NOTE, found=f"unexpected response: {error}")
    return CheckResult(subject="REST API", verdict=Verdict.OK, found=f"running at {invocation.base_url()}")
