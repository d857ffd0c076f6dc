"""`spoon presets`: named sets of a job's options, which the server keeps."""

from typing import Final

import click
import msgspec

from api.cli.client.client_models import list_items
from api.cli.context import Invocation
from api.cli.exit_codes import Refusal
from api.cli.job_options import Said, engine_option, in_options, is_said, job_input, job_options
from api.cli.options import json_option, limit_option
from api.cli.output import beginning, print_json, print_table, print_thing, when

PATH: Final = "/v1/presets"
_NOT_KEPT: Final = {
    "preset": "--preset",
    "like": "--like",
    "reference": "--reference",
    "mask": "--mask",
    "pose": "--pose",
    "reference_image_id": "--reference-id",
    "mask_image_id": "--mask-id",
    "pose_image_id": "--pose-id",
    "callback_url": "--callback-url",
    "callback_events": "--callback-event",
}
"""Options that mean something for one job alone."""


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A preset as the server shows it."""

    name: str
    fields: dict[str, object]
    shared: bool
    changed_at: str


@click.group()
def presets() -> None:
    """Keep options of jobs under a name, to be named by --preset of `spoon draw`."""


@presets.command("list")
@limit_option
@json_option
@click.pass_obj
def list_all(invocation: Invocation, limit: int, as_json: bool) -> None:
    """List presets by name."""
    from api.cli.client.rest import read

    with invocation.rest() as rest:
        items = list_items(rest, PATH, {}, limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    rows = []
    for one in (read(item, Preset) for item in items):
        sets = beginning(", ".join(f"{name} {value}" for name, value in one.fields.items()))
        rows.append((one.name, "everybody" if one.shared else "you", when(one.changed_at), sets))
    print_table(("NAME", "FOR", "CHANGED", "SETS"), rows)


@presets.command()
@click.argument("name")
@json_option
@click.pass_obj
def show(invocation: Invocation, name: str, as_json: bool) -> None:
    """Show the preset NAME."""
    with invocation.rest() as rest:
        answer = rest.get(_path(name))
    (print_json if as_json else print_thing)(answer)


@presets.command()
@click.argument("name")
@click.argument("prompt", required=False)
@engine_option
@job_options
@click.option(
    "--shared/--own",
    default=None,
    help="Whether it is everybody's, which admins decide. [default: as it was]",
)
@json_option
@click.pass_obj
def save(
    invocation: Invocation,
    /,
    name: str,
    engine: str | None,
    said_type: str | None,
    shared: bool | None,
    as_json: bool,
    **said: Said,
) -> None:
    """Keep the options that you give as the preset NAME, in place of what it had.

    \b
    Examples:
      spoon presets save sketch --steps 12 --scheduler euler_a --cfg 5
      spoon presets save photo "a photo, 35mm" --negative-prompt "drawing" --engine portraits
      spoon draw "a red fox" --preset sketch
    """
    for option in (option for field, option in _NOT_KEPT.items() if is_said(said[field])):
        raise click.UsageError(f"a preset cannot keep {option}")
    fields = job_input(None, {**said, "image_file_type": said_type})
    query = None if shared is None else {"shared": "true" if shared else "false"}
    with invocation.rest() as rest:
        try:
            answer = rest.put(_path(name), fields | ({"engine": engine} if engine else {}), query)
        except Refusal as refusal:
            raise refusal.reworded(in_options) from refusal
    if as_json:
        print_json(answer)
    else:
        click.echo(f"saved preset {name}")


@presets.command()
@click.argument("name")
@click.pass_obj
def delete(invocation: Invocation, name: str) -> None:
    """Delete the preset NAME."""
    with invocation.rest() as rest:
        rest.delete(_path(name))
    click.echo(f"deleted preset {name}")


def _path(name: str) -> str:
    from api.cli.client.rest import quoted

    return f"{PATH}/{quoted(name)}"
