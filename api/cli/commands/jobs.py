"""`spoon jobs`: submit, watch, edit, cancel and delete jobs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from api.cli.client.client_models import Infotext, Job, find_engine, list_items
from api.cli.commands.presets import Preset
from api.cli.context import Invocation
from api.cli.exit_codes import Refusal
from api.cli.job_options import Said, engine_option, files_of, in_options, is_said, job_input, job_options
from api.cli.options import (
    STDOUT,
    ImagePath,
    WordChoice,
    all_option,
    check_out,
    file_type_for,
    json_option,
    limit_option,
    out_option,
)
from api.cli.output import beginning, print_json, print_table, print_thing, when
from api.cli.search_options import Wanted, query_of, search_options
from conf.load import ENGINE_VARIABLE
from kernel.protocol.enums import ImageFileType, JobState
from kernel.protocol.type_info import analyzed

if TYPE_CHECKING:
    from api.cli.client.rest import Query, Rest


preview_option = click.option(
    "--preview-to",
    type=ImagePath(types=(ImageFileType.JPEG,), is_preview=True),
    help="Wait and keep the latest preview in this JPEG file.",
)


_REPLACED: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("lora_tags", "wildcards"),
    "scheduler": ("scheduler_config", "eta"),
}
"""What a file says that has no meaning beside these options."""
_ENGINE: Final = ("engine_id", "engine", "checkpoint")
"""Fields that tell where a job runs."""
key_option = click.option(
    "--idempotency-key",
    "key",
    metavar="KEY",
    help="Resubmitting with the same key returns the first result instead of creating a second job.",
)


@click.group()
def jobs() -> None:
    """Submit, watch, edit, cancel and delete jobs."""


@jobs.command("list")
@click.option("--status", type=WordChoice(JobState), help="List only jobs with this status.")
@search_options
@limit_option
@all_option
@json_option
@click.pass_obj
def list_(
    invocation: Invocation,
    /,
    status: str | None,
    limit: int,
    is_all: bool,
    as_json: bool,
    **wanted: Wanted,
) -> None:
    """List jobs, newest first.

    \b
    Examples:
      spoon jobs list --status waiting
      spoon jobs list --engine portraits --json
      spoon jobs list --prompt "red fox" --since 7d --order oldest
    """
    with invocation.rest() as rest:
        query = {"status": status, **query_of(rest, wanted)}
        items = list_items(rest, "/v1/jobs", query, None if is_all else limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    rows = []
    for job in (msgspec.json.decode(item, type=analyzed(Job)) for item in items):
        engine_name = job.names.get(job.engine_id or "", job.engine_id)
        created = when(job.created_at)
        rows.append((job.job_id, job.status, engine_name, _fraction(job), created, beginning(job.prompt)))
    print_table(("ID", "STATUS", "ENGINE", "PROGRESS", "CREATED", "PROMPT"), rows)


@jobs.command()
@click.argument("job")
@json_option
@click.pass_obj
def show(invocation: Invocation, job: str, as_json: bool) -> None:
    """Show the details of JOB (an id).

    \b
    Example:
      spoon jobs show 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11
    """
    from api.cli.client.rest import quoted

    with invocation.rest() as rest:
        body = rest.get(f"/v1/jobs/{quoted(job)}")
    (print_json if as_json else print_thing)(body)


@jobs.command()
@click.argument("prompt", required=False)
@engine_option
@job_options
@key_option
@click.option("--validate-only", is_flag=True, help="Check the job without submitting it.")
@click.option("--wait", "is_waiting", is_flag=True, help="Wait until the job has ended.")
@click.option(
    "--watch", "is_watched", is_flag=True, help="Wait until the job has ended and show a progress bar."
)
@preview_option
@out_option(
    ImagePath(types=tuple(ImageFileType)),
    "Wait and save the image to this file (several images as fox-1.png, fox-2.png, ...), or - for stdout. "
    "Its name may have fields such as {date}, {seed} and {image_id}. The suffix sets --file-type.",
)
@json_option
@click.pass_obj
def submit(
    invocation: Invocation,
    /,
    key: str | None,
    validate_only: bool,
    is_waiting: bool,
    is_watched: bool,
    preview_to: Path | None,
    out: Path | None,
    said_type: str | None,
    as_json: bool,
    **said: Said,
) -> None:
    """Submit a job that generates images from PROMPT. `spoon draw` also waits for them and saves them.

    Settings that you omit come from the engine, or from the image in --like. --lora and --embedding replace
    all of theirs.

    \b
    Examples:
      spoon jobs submit "a red fox in the snow" --engine portraits --watch --out fox.png
      spoon jobs submit --like 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --seed 8 --watch
      spoon jobs submit "a red fox" --engine portraits --seed 7 --count 4 --json
      spoon jobs submit "a fox" --engine portraits --lora detail:0.6 --reference fox.jpg --strength 0.5
      spoon jobs submit "a dancer" --engine portraits --pose photo.jpg --type-pose openpose --watch
    """
    from api.cli.client.rest import read

    said |= output_values(said, said_type, out, preview_to, as_json=as_json)
    with invocation.rest() as rest:
        query = {"validate_only": "true"} if validate_only else None
        answer = post_job(invocation, rest, said, query, key)
        if validate_only:
            _say_valid(answer, as_json)
            return
        if is_waiting or is_watched or preview_to or out:
            answer = _follow(rest, read(answer, Job).job_id, is_watched, out, preview_to)
    _say(answer, as_json, out)


@jobs.command()
@click.argument("job")
@preview_option
@out_option(ImagePath(types=tuple(ImageFileType)), "Save the image to this file, or - for stdout.")
@json_option
@click.pass_obj
def watch(invocation: Invocation, job: str, preview_to: Path | None, out: Path | None, as_json: bool) -> None:
    """Show the progress of JOB (an id) until it ends. Ctrl-C leaves the job running.

    Previews are available only if the job was submitted with --previews or --preview-to.

    \b
    Example:
      spoon jobs watch 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --out fox.png
    """
    check_out(out, as_json=as_json)
    with invocation.rest() as rest:
        answer = _follow(rest, job, is_watched=True, out=out, preview_to=preview_to)
    _say(answer, as_json, out)


@jobs.command()
@click.argument("job")
@click.pass_obj
def cancel(invocation: Invocation, job: str) -> None:
    """Cancel JOB (an id), waiting or running.

    \b
    Example:
      spoon jobs cancel 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11
    """
    from api.cli.client.rest import quoted, read

    with invocation.rest() as rest:
        answer = read(rest.post(f"/v1/jobs/{quoted(job)}/cancel"), Job)
    click.echo(f"{answer.job_id}  {answer.status}")


@jobs.command()
@click.argument("job")
@click.option("--priority", type=int, required=True, help="Priority, -1000 to 1000. Higher runs first.")
@json_option
@click.pass_obj
def edit(invocation: Invocation, job: str, priority: int, as_json: bool) -> None:
    """Change the priority of JOB (an id), which must be waiting.

    \b
    Example:
      spoon jobs edit 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --priority 10
    """
    from api.cli.client.rest import quoted, read

    with invocation.rest() as rest:
        answer = rest.patch(f"/v1/jobs/{quoted(job)}", body={"priority": priority})
    if as_json:
        print_json(answer)
        return
    edited = read(answer, Job)
    click.echo(f"{edited.job_id}  priority {priority}, position {edited.queue_position or '-'}")


@jobs.command()
@click.argument("job")
@key_option
@click.option("--wait", "is_waiting", is_flag=True, help="Wait until the new job has ended.")
@click.option(
    "--watch", "is_watched", is_flag=True, help="Wait until the new job has ended and show a progress bar."
)
@json_option
@click.pass_obj
def retry(
    invocation: Invocation, job: str, key: str | None, is_waiting: bool, is_watched: bool, as_json: bool
) -> None:
    """Submit JOB (an id), which failed or was canceled, again: as a new job with the same values.

    \b
    Example:
      spoon jobs retry 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --watch
    """
    from api.cli.client.rest import quoted, read

    with invocation.rest() as rest:
        answer = rest.post(f"/v1/jobs/{quoted(job)}/retry", key=key)
        if is_waiting or is_watched:
            answer = _follow(rest, read(answer, Job).job_id, is_watched, out=None, preview_to=None)
    _say(answer, as_json, out=None)


@jobs.command()
@click.argument("job")
@click.pass_obj
def delete(invocation: Invocation, job: str) -> None:
    """Delete JOB (an id) and its images. The job must have ended.

    \b
    Example:
      spoon jobs delete 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11
    """
    from api.cli.client.rest import quoted

    with invocation.rest() as rest:
        rest.delete(f"/v1/jobs/{quoted(job)}")
    click.echo(f"deleted {job}")


def output_values(
    said: Mapping[str, Said],
    said_type: str | None,
    out: Path | None,
    preview_to: Path | None,
    *,
    as_json: bool,
) -> dict[str, Said]:
    """The values of a job that --out, --file-type and --preview-to imply.

    Raises: BadParameter, if they contradict each other; as `check_out`.
    """
    check_out(out, said["count"], as_json=as_json)
    wants_previews = bool(said["previews"]) or preview_to is not None
    return {"image_file_type": file_type_for(out, said_type), "previews": wants_previews}


def post_job(
    invocation: Invocation,
    rest: "Rest",
    said: Mapping[str, Said],
    query: "Query | None" = None,
    key: str | None = None,
) -> bytes:
    """The response.

    Raises: MissingParameter, without a prompt, --like and --preset; UsageError, for options that contradict
    each other; Refusal, with options in place of field names; ServerUnreachable; OSError.
    """
    if said["prompt"] is None and not said["like"] and not said["preset"]:
        raise click.MissingParameter(param_type="argument", param_hint="'PROMPT'")
    taken = {**_taken_over(rest, said), **_of_preset(rest, said)}
    has_engine = bool(said["checkpoint"] or taken.keys() & {"like", *_ENGINE})
    engine_id = _engine_id_of(invocation, rest, said, has_engine=has_engine)
    if engine_id is not None or said["checkpoint"]:
        taken = {name: value for name, value in taken.items() if name not in _ENGINE}
    body = {**taken, **job_input(engine_id, {**said, "like": None})}
    try:
        return rest.post("/v1/jobs", body, query, key, files_of(said))
    except Refusal as refusal:
        raise refusal.reworded(in_options) from refusal


def _taken_over(rest: "Rest", said: Mapping[str, Said]) -> dict[str, object]:
    """What a job has from --like: the id of an image, or what a file says. What that cannot be is told.

    Raises: BadParameter, for a file that is not there; Refusal, ServerUnreachable; OSError.
    """
    from api.cli.client.rest import read

    if said["like"] is None:
        return {}
    file = Path(str(said["like"]))
    if not file.is_file():
        if len(file.parts) > 1 or file.suffix:
            raise click.BadParameter(f"there is no file {str(file)!r}", param_hint="'--like'")
        return {"like": said["like"]}
    found = read(rest.post_file("/v1/infotext", file), Infotext)
    for one in found.unmapped:
        click.echo(f"not taken from {file.name}: {one.name} {beginning(one.value)}: {one.reason}", err=True)
    if found.more:
        click.echo(f"not taken from {file.name}: {found.more} more", err=True)
    return _not_replaced(found.job, said)


def _of_preset(rest: "Rest", said: Mapping[str, Said]) -> dict[str, object]:
    """What a job has from --preset. Raises: Refusal, ServerUnreachable."""
    from api.cli.client.rest import quoted, read

    if said["preset"] is None:
        return {}
    found = read(rest.get(f"/v1/presets/{quoted(str(said['preset']))}"), Preset)
    return _not_replaced(found.fields, said)


def _not_replaced(found: Mapping[str, object], said: Mapping[str, Said]) -> dict[str, object]:
    replaced = {name for field, names in _REPLACED.items() if is_said(said[field]) for name in names}
    return {name: value for name, value in found.items() if name not in replaced}


def _engine_id_of(
    invocation: Invocation, rest: "Rest", said: Mapping[str, Said], *, has_engine: bool
) -> str | None:
    """The engine of a job: --engine, else SPOON_ENGINE if nothing else tells. None: the server chooses.

    Raises: UsageError, if --engine and --checkpoint are given; as `find_engine`.
    """
    engine, checkpoint = said["engine"], said["checkpoint"]
    if engine and checkpoint:
        raise click.UsageError("--engine and --checkpoint cannot be used together")
    named = engine or (None if has_engine else invocation.environ.get(ENGINE_VARIABLE))
    return find_engine(rest, str(named)).engine_id if named else None


def _follow(rest: "Rest", job_id: str, is_watched: bool, out: Path | None, preview_to: Path | None) -> bytes:
    """The finished job, after saving its images to `out`.

    Raises: AwaitedFailed, if it failed or was cancelled; Detached, on Ctrl-C; as `saved`.
    """
    from api.cli.client.downloads import saved
    from api.cli.client.progress import follow
    from api.cli.client.rest import read

    answer = follow(rest, job_id, is_watched, preview_to)
    if out is not None:
        for file in saved(rest, read(answer, Job).image_ids, out):
            click.echo(f"saved {file}", err=True)
    return answer


def _say(answer: bytes, as_json: bool, out: Path | None) -> None:
    from api.cli.client.rest import read

    if as_json:
        print_json(answer)
        return
    job = read(answer, Job)
    click.echo(f"{job.job_id}  {job.status}  {' '.join(job.image_ids)}".rstrip(), err=out == STDOUT)


def _say_valid(answer: bytes, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        click.echo("the job would be accepted")


def _fraction(job: Job) -> str | None:
    return f"{job.progress.step}/{job.progress.steps}" if job.progress else None
