"""`spoon images`: list, download and delete images."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from api.cli.client.client_models import Image, list_items
from api.cli.context import Invocation
from api.cli.options import (
    STDOUT,
    ImagePath,
    WordChoice,
    all_option,
    check_out,
    confirm,
    disk_size,
    duration,
    json_option,
    limit_option,
    out_option,
    yes_option,
)
from api.cli.output import beginning, print_json, print_table, print_thing, size, when
from api.cli.search_options import Wanted, image_filters, image_search_options, query_of
from kernel.protocol.enums import ControlType
from kernel.protocol.errors import ImageNotFound
from kernel.protocol.type_info import analyzed
from kernel.protocol.values import MAX_DELETED

if TYPE_CHECKING:
    from api.cli.client.rest import Rest


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """Its response."""

    images: int
    size_bytes: int
    missing: int
    missing_files: tuple[str, ...]
    dry_run: bool
    has_more: bool = False


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of images that were to be deleted."""

    not_found: tuple[str, ...]


class PartChoice(click.Choice[str]):
    """A part of an image to download. `picture`, the former name of `image`, is still accepted."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The part. Raises: BadParameter, with the list of parts."""
        return super().convert("image" if value == "picture" else value, param, ctx)


@click.group()
def images() -> None:
    """List, download and delete images."""


@images.command("list")
@image_search_options
@limit_option
@all_option
@json_option
@click.pass_obj
def list_(invocation: Invocation, /, limit: int, is_all: bool, as_json: bool, **wanted: Wanted) -> None:
    """List images, newest first.

    \b
    Examples:
      spoon images list --engine portraits
      spoon images list --prompt '"red fox" snow' --since 7d --favorite
      spoon images list --all --json
    """
    with invocation.rest() as rest:
        items = list_items(rest, "/v1/images", query_of(rest, wanted), None if is_all else limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    rows = []
    for image in (msgspec.json.decode(item, type=analyzed(Image)) for item in items):
        pixels = f"{image.width}x{image.height}" if image.width and image.height else None
        engine_name = image.names.get(image.engine_id or "", image.engine_id)
        columns = (image.image_id, engine_name, pixels, size(image.size_bytes), image.seed)
        expires = when(image.expires_at) if image.gone is None else f"gone: {image.gone.reason}"
        rows.append((*columns, image.downloads, expires, beginning(image.prompt)))
    print_table(("ID", "ENGINE", "PIXELS", "SIZE", "SEED", "DOWNLOADS", "EXPIRES", "PROMPT"), rows)


@images.command()
@click.argument("image")
@json_option
@click.pass_obj
def show(invocation: Invocation, image: str, as_json: bool) -> None:
    """Show the details of IMAGE (an id), including its generation settings.

    \b
    Example:
      spoon images show 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11
    """
    from api.cli.client.rest import quoted

    with invocation.rest() as rest:
        body = rest.get(f"/v1/images/{quoted(image)}")
    (print_json if as_json else print_thing)(body)


@images.command()
@click.argument("image")
@out_option(
    ImagePath(),
    "Output file, or - for stdout; its name may have fields such as {date}, {seed} and {image_id}. "
    "[default: the image's id with the suffix of its type]",
)
@click.option(
    "--what",
    type=PartChoice(["image", "thumbnail", "reference", "mask", "pose", "map"]),
    default="image",
    show_default=True,
    help="File to download: the image, a small copy, one of the input images of its job, or the control map.",
)
@click.option(
    "--type",
    "map_type",
    type=WordChoice(ControlType),
    help="Control type of the map. Required if the job has several.",
)
@click.pass_obj
def download(invocation: Invocation, image: str, out: Path | None, what: str, map_type: str | None) -> None:
    """Download IMAGE (an id), or an input image or control map of its job.

    \b
    Examples:
      spoon images download 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --out fox.png
      spoon images download 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --out "{date}-{seed}.png"
      spoon images download 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --out - > fox.png
      spoon images download 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --what map --type openpose
    """
    from api.cli.client.downloads import WHOLE, Part, filled_in, pour, save

    if map_type and what != "map":
        raise click.BadParameter("only valid with --what map", param_hint="--type")
    call = f"pose_map?type={map_type}" if map_type else "pose_map" if what == "map" else what
    check_out(out)
    part = WHOLE if what == "image" else Part(call, f"-{map_type or what}")
    with invocation.rest() as rest:
        if out == STDOUT:
            pour(rest, image, part)
        else:
            save(rest, image, out and filled_in(rest, image, out), part)


@images.command()
@click.argument("image", nargs=-1, required=True)
@click.option("--tag", "added", multiple=True, metavar="TAG", help="Add this tag. Repeatable.")
@click.option("--untag", "removed", multiple=True, metavar="TAG", help="Remove this tag. Repeatable.")
@click.option("--favorite/--no-favorite", default=None, help="Mark as a favorite, or remove the mark.")
@click.option("--note", metavar="TEXT", help="Replace the note; an empty one removes it.")
@click.pass_obj
def edit(
    invocation: Invocation,
    image: tuple[str, ...],
    added: tuple[str, ...],
    removed: tuple[str, ...],
    favorite: bool | None,
    note: str | None,
) -> None:
    """Set the tags, the favorite mark and the note of each IMAGE (an id).

    \b
    Examples:
      spoon images edit 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --tag best --favorite
      spoon images edit 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 --untag best --note "for the wall"
    """
    from api.cli.client.rest import quoted, read

    if not (added or removed) and favorite is None and note is None:
        raise click.UsageError("nothing to change: pass --tag, --untag, --favorite, --no-favorite or --note")
    with invocation.rest() as rest:
        for one in image:
            path = f"/v1/images/{quoted(one)}"
            said: dict[str, object] = {"favorite": favorite, "note": note}
            if added or removed:
                tags = dict.fromkeys((*read(rest.get(path), Image).tags, *added))
                said["tags"] = [tag for tag in tags if tag not in removed]
            rest.patch(path, body={name: value for name, value in said.items() if value is not None})
            click.echo(f"edited {one}")


@images.command("zip")
@click.argument("image", nargs=-1)
@image_filters
@out_option(
    click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    "Output file; - is stdout.  [default: images.zip]",
)
@click.pass_obj
def zip_(invocation: Invocation, /, image: tuple[str, ...], out: Path | None, **wanted: Wanted) -> None:
    """Download each IMAGE (an id), or all images that the options select, as one zip: at most 500.

    Each counts as a download. Those that are gone are listed in missing.txt in the zip.

    \b
    Examples:
      spoon images zip --tag best --since 7d --out best.zip
      spoon images zip 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e12
    """
    from api.cli.client.downloads import save_stream

    file = out or Path("images.zip")
    check_out(file)
    with invocation.rest() as rest:
        query = {**query_of(rest, wanted), "image_ids": ",".join(image) or None}
        save_stream(rest, "/v1/images/zip", query, file)


@images.command()
@click.argument("image", nargs=-1, required=True)
@click.pass_obj
def delete(invocation: Invocation, image: tuple[str, ...]) -> None:
    """Delete the file of each IMAGE (an id). Its details stay available.

    \b
    Example:
      spoon images delete 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e11 0197c5f2-8a51-7c31-9c7e-2b1f6d2f8e12
    """
    from api.cli.client.rest import read

    missing: list[str] = []
    with invocation.rest() as rest:
        for first in range(0, len(image), MAX_DELETED):
            named = image[first : first + MAX_DELETED]
            found = read(rest.post("/v1/images/delete", {"image_ids": named}), Deleted)
            missing += found.not_found
            for one in named:
                if one not in found.not_found:
                    click.echo(f"deleted {one}")
    if missing:
        raise ImageNotFound(f"no image has the id {', '.join(missing)}")


@images.command()
@click.option(
    "--older-than", "older_than_s", type=duration, help="Also delete images older than this, e.g. 7d."
)
@click.option(
    "--keep",
    "keep_bytes",
    type=disk_size,
    metavar="SIZE",
    help="Also delete the oldest images until the rest fit in this size, e.g. 5GB.",
)
@click.option("--missing", "is_missing", is_flag=True, help="Also delete images whose files are missing.")
@image_filters
@click.option(
    "--dry-run", is_flag=True, help="Show how many images and bytes would be deleted, without deleting them."
)
@yes_option
@json_option
@click.pass_obj
def prune(
    invocation: Invocation,
    /,
    older_than_s: float | None,
    keep_bytes: int | None,
    is_missing: bool,
    dry_run: bool,
    is_sure: bool,
    as_json: bool,
    **wanted: Wanted,
) -> None:
    """Delete expired images and those that the options select. Image details stay available.

    Filters such as --prompt or --tag select exactly the images that `spoon images list` shows with them.
    Only --engine can be combined with --older-than, --keep and --missing.

    \b
    Examples:
      spoon images prune --dry-run --older-than 30d
      spoon images prune --older-than 30d --yes
      spoon images prune --keep 5GB --engine portraits
      spoon images prune --missing --dry-run
      spoon images prune --no-favorite --until 90d --dry-run
    """
    with invocation.rest() as rest:
        own = {"older_than_s": older_than_s, "keep_bytes": keep_bytes, "missing": is_missing or None}
        wish = {name: value for name, value in {**query_of(rest, wanted), **own}.items() if value is not None}
        found = _pruned(rest, wish | {"dry_run": True})
        if not dry_run and found.images:
            confirm(f"Delete {_counted(found)}?", is_sure=is_sure)
        if not dry_run:
            found = _pruned(rest, wish)
    if as_json:
        print_json(msgspec.json.encode(found))
    else:
        click.echo(f"would delete {_counted(found)}" if dry_run else f"deleted {_counted(found)}")
        for name in found.missing_files:
            click.echo(f"  {name} is missing")
        if found.missing > len(found.missing_files):
            click.echo(f"  and {found.missing - len(found.missing_files)} more are missing")


def _pruned(rest: "Rest", wanted: Mapping[str, object]) -> Pruned:
    """What all requests together have deleted; the server ends each one after some 100,000 images."""
    from api.cli.client.rest import read

    found = read(rest.post("/v1/images/prune", wanted), Pruned)
    while found.has_more:
        more = read(rest.post("/v1/images/prune", wanted), Pruned)
        found = Pruned(
            images=found.images + more.images,
            size_bytes=found.size_bytes + more.size_bytes,
            missing=found.missing + more.missing,
            missing_files=found.missing_files or more.missing_files,
            dry_run=more.dry_run,
            has_more=more.has_more and more.images > 0,
        )
    return found


def _counted(found: Pruned) -> str:
    noun = "image" if found.images == 1 else "images"
    missing = f", {found.missing} of them without a file" if found.missing else ""
    return f"{found.images} {noun} ({size(found.size_bytes)}{missing})"
