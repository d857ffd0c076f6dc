"""`spoon images`: finished pictures."""

from pathlib import Path

import click
import msgspec

from api.admin.invocation import Invocation
from api.admin.options import PictureFile, WordChoice, all_option, json_option, limit_option
from api.admin.output import beginning, print_json, print_table, print_thing, size, when
from api.admin.resources import Image, engine_names, find_engine, list_items
from kernel.protocol.vocabulary import ControlType


@click.group()
def images() -> None:
    """Look at, download and delete finished pictures."""


@images.command("list")
@click.option("--engine", help="Only those of this engine (an id or a name).")
@limit_option
@all_option
@json_option
@click.pass_obj
def list_(invocation: Invocation, engine: str | None, limit: int, is_all: bool, as_json: bool) -> None:
    """List the pictures.

    \b
    Examples:
      spoon images list --engine portraits
      spoon images list --all --json
    """
    with invocation.rest() as rest:
        engine_id = find_engine(rest, engine).engine_id if engine else None
        items = list_items(rest, "/v1/images", {"engine_id": engine_id}, None if is_all else limit)
        names = {} if as_json else engine_names(rest)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    rows = []
    for image in (msgspec.json.decode(item, type=Image) for item in items):
        pixels = f"{image.width}x{image.height}" if image.width and image.height else None
        engine_name = names.get(image.engine_id or "", image.engine_id)
        picture = (image.image_id, engine_name, pixels, size(image.size_bytes), image.seed)
        rows.append((*picture, image.downloads, when(image.expires_at), beginning(image.prompt)))
    print_table(("ID", "ENGINE", "PIXELS", "SIZE", "SEED", "DOWNLOADS", "EXPIRES", "PROMPT"), rows)


@images.command()
@click.argument("image")
@json_option
@click.pass_obj
def show(invocation: Invocation, image: str, as_json: bool) -> None:
    """Show the whole recipe of IMAGE.

    \b
    Example:
      spoon images show 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11
    """
    from api.admin.rest import quoted

    with invocation.rest() as rest:
        body = rest.get(f"/v1/images/{quoted(image)}")
    (print_json if as_json else print_thing)(body)


@images.command()
@click.argument("image")
@click.option(
    "--out",
    type=PictureFile(allow_dash=True),
    help="Where to; - is stdout. [default: the id and the suffix of its type]",
)
@click.option(
    "--what",
    type=click.Choice(["picture", "reference", "mask", "pose", "map"]),
    default="picture",
    show_default=True,
    help="The picture itself, what it was made from, or the control map that was drawn for it.",
)
@click.option(
    "--type", "map_type", type=WordChoice(ControlType), help="Which map, where the job had several types."
)
@click.pass_obj
def download(invocation: Invocation, image: str, out: Path | None, what: str, map_type: str | None) -> None:
    """Download IMAGE, or what it was made from.

    \b
    Examples:
      spoon images download 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --out fox.png
      spoon images download 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --out - > fox.png
      spoon images download 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --what map --type openpose
    """
    from api.admin.downloads import WHOLE, Part, pour, save

    if map_type and what != "map":
        raise click.BadParameter("only a map has a type: say --what map", param_hint="--type")
    call = f"pose_map?type={map_type}" if map_type else "pose_map" if what == "map" else what
    part = WHOLE if what == "picture" else Part(call, f"-{map_type or what}")
    with invocation.rest() as rest:
        if out == Path("-"):
            pour(rest, image, part)
        else:
            save(rest, image, out, part)


@images.command()
@click.argument("image")
@click.pass_obj
def delete(invocation: Invocation, image: str) -> None:
    """Delete IMAGE.

    \b
    Example:
      spoon images delete 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11
    """
    from api.admin.rest import quoted

    with invocation.rest() as rest:
        rest.delete(f"/v1/images/{quoted(image)}")
    click.echo(f"deleted {image}")
