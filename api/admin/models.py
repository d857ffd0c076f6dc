"""`spoon models`: registering weights and looking after them."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import click
import msgspec

from api.admin.exits import AwaitedFailed
from api.admin.invocation import Invocation
from api.admin.options import WordChoice, all_option, confirm, json_option, limit_option, numbers, yes_option
from api.admin.output import beginning, print_json, print_table, print_thing, size
from api.admin.resources import Model, find_model, list_items
from kernel.protocol.sources import is_local
from kernel.protocol.vocabulary import ControlType, ModelBase, ModelState, ModelType, Variant

if TYPE_CHECKING:
    from api.admin.rest import Rest

_ROOTS_KEY: Final = "models.file_roots"
"""Also what the server's answer names when a file lies outside."""
_REASON_WIDTH: Final = 100


class ModelInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/models; what is left out is left to the server."""

    name: str
    path: str | None = None
    model_type: str
    model_base: str | None = None
    variant: str | None = None
    tags: tuple[str, ...] = ()
    sha256: str | None = None
    trigger_words: tuple[str, ...] = ()
    control_type: str | None = None
    input_size: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class ModelPruneInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/models/prune."""

    dry_run: bool = False


class ModelsRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """What it answers."""

    models: int
    size_bytes: int
    dry_run: bool


@click.group()
def models() -> None:
    """Register models and look after them."""


@models.command("list")
@click.option("--type", "model_type", type=WordChoice(ModelType), help="Only these.")
@click.option("--status", type=WordChoice(ModelState), help="Only these.")
@click.option("--tag", help="Only those with this tag.")
@limit_option
@all_option
@json_option
@click.pass_obj
def list_(
    invocation: Invocation,
    model_type: str | None,
    status: str | None,
    tag: str | None,
    limit: int,
    is_all: bool,
    as_json: bool,
) -> None:
    """List the registered models.

    \b
    Examples:
      spoon models list --type checkpoint
      spoon models list --all --json
    """
    query = {"model_type": model_type, "status": status, "tag": tag}
    with invocation.rest() as rest:
        items = list_items(rest, "/v1/models", query, None if is_all else limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    rows = []
    for model in (msgspec.json.decode(item, type=Model) for item in items):
        what = (model.model_id, model.name, model.status, model.model_type, model.model_base)
        rows.append((*what, size(model.size_bytes), _file_of(model.path), _reason_of(model)))
    print_table(("ID", "NAME", "STATUS", "TYPE", "BASE", "SIZE", "FILE", "ERROR"), rows)


@models.command()
@click.argument("model")
@json_option
@click.pass_obj
def show(invocation: Invocation, model: str, as_json: bool) -> None:
    """Show all that is known of MODEL (an id or a name).

    \b
    Example:
      spoon models show dreams
    """
    from api.admin.rest import quoted

    with invocation.rest() as rest:
        body = rest.get(f"/v1/models/{quoted(find_model(rest, model).model_id)}")
    (print_json if as_json else print_thing)(body)


@models.command()
@click.argument("source")
@click.option("--type", "model_type", type=WordChoice(ModelType), required=True, help="What it is.")
@click.option("--name", help="How to call it. [default: the name of the file, or SOURCE]")
@click.option("--base", "model_base", type=WordChoice(ModelBase), help="Checked; left out, it is detected.")
@click.option("--variant", type=WordChoice(Variant), help="The precision to take, where there are several.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; can be given again.")
@click.option("--sha256", help="Refuse the file if this is not its digest.")
@click.option(
    "--trigger-word", "trigger_words", multiple=True, help="A word that calls it; can be given again."
)
@click.option(
    "--control-type", type=WordChoice(ControlType), help="The maps that a ControlNet was trained on."
)
@click.option("--input-size", type=numbers, help="Of a background remover: 320, or 640,480 (width, height).")
@click.option("--mean", type=numbers, help="Of its colours, such as 0.5,0.5,0.5; left out, its file tells.")
@click.option("--std", type=numbers, help="Their deviation, such as 1,1,1.")
@click.option("--upload", "is_upload", is_flag=True, help="Send the file to the server.")
@click.option(
    "--wait", "is_waiting", is_flag=True, help="Wait until it is ready, with a bar that shows how far it is."
)
@json_option
@click.pass_obj
def add(
    invocation: Invocation,
    /,
    source: str,
    model_type: str,
    name: str | None,
    is_upload: bool,
    is_waiting: bool,
    as_json: bool,
    **said: str | tuple[str, ...] | None,
) -> None:
    """Register the model at SOURCE, and have it downloaded if it is elsewhere. SOURCE is

    \b
      a file or diffusers folder of the server's machine (below models.file_roots), or its file:// address;
      an https:// or http:// address;
      a repository of the Hugging Face hub: owner/name, or hf://owner/name[@revision][/file];
      with --upload, a file of this machine.

    \b
    Examples:
      spoon models add ./dreams.safetensors --type checkpoint --wait
      spoon models add https://example.org/fur.safetensors --type lora --wait
      spoon models add owner/dreams --type checkpoint --variant fp16
      spoon models add ./cutter.onnx --type background --upload --mean 0.5,0.5,0.5 --std 1,1,1
    """
    from api.admin.model_sources import address_of, upload
    from api.admin.rest import read

    path = None if is_upload else address_of(source)
    said = {"name": name, "model_type": model_type, **said}
    with invocation.rest() as rest:
        answer = upload(rest, source, said) if is_upload else _register(rest, source, path, said)
        if is_waiting:
            answer = _await(rest, read(answer, Model).model_id, path)
    if as_json:
        print_json(answer)
    else:
        added = read(answer, Model)
        click.echo(f"{added.model_id}  {added.name}: {added.status}")


@models.command()
@click.argument("model")
@click.option("--wait", "is_waiting", is_flag=True, help="Wait until it is ready.")
@click.pass_obj
def retry(invocation: Invocation, model: str, is_waiting: bool) -> None:
    """Try MODEL again after an error: a download goes on where it broke off.

    \b
    Examples:
      spoon models retry dreams
      spoon models retry dreams --wait
    """
    from api.admin.rest import quoted, read

    with invocation.rest() as rest:
        found = find_model(rest, model)
        answer = rest.post(f"/v1/models/{quoted(found.model_id)}/retry")
        again = read(_await(rest, found.model_id, found.path) if is_waiting else answer, Model)
    click.echo(f"{again.model_id}  {again.name}: {again.status}")


@models.command()
@click.argument("model")
@click.option("--files", is_flag=True, help="Remove what was downloaded or uploaded for it, too.")
@click.pass_obj
def delete(invocation: Invocation, model: str, files: bool) -> None:
    """Forget MODEL. A local file that it was registered from stays where it is; what was downloaded or
    uploaded stays in models.folder, unless --files is given: for the same model added again, until
    `spoon models prune`.

    \b
    Examples:
      spoon models delete dreams
      spoon models delete dreams --files
    """
    from api.admin.rest import quoted

    with invocation.rest() as rest:
        found = find_model(rest, model)
        rest.delete(f"/v1/models/{quoted(found.model_id)}", {"files": "true"} if files else None)
    click.echo(f"deleted {found.name}")
    if not files and found.path is not None and not is_local(found.path):
        click.echo("what was kept of it stays in models.folder until `spoon models prune`", err=True)


@models.command()
@click.option("--dry-run", is_flag=True, help="Only say how many they are, and how much room they take.")
@yes_option
@json_option
@click.pass_obj
def prune(invocation: Invocation, dry_run: bool, is_sure: bool, as_json: bool) -> None:
    """Remove from models.folder what was downloaded or uploaded for models that were deleted since.

    \b
    Examples:
      spoon models prune --dry-run
      spoon models prune --yes
    """
    with invocation.rest() as rest:
        found = _pruned(rest, dry_run=True)
        if not dry_run and found.models:
            confirm(f"Remove {_counted(found)}?", is_sure=is_sure)
        if not dry_run:
            found = _pruned(rest, dry_run=False)
    if as_json:
        print_json(msgspec.json.encode(found))
    else:
        click.echo(f"would remove {_counted(found)}" if dry_run else f"removed {_counted(found)}")


def _pruned(rest: "Rest", *, dry_run: bool) -> ModelsRemoved:
    from api.admin.rest import read

    return read(rest.post("/v1/models/prune", ModelPruneInput(dry_run=dry_run)), ModelsRemoved)


def _counted(found: ModelsRemoved) -> str:
    what = "deleted model" if found.models == 1 else "deleted models"
    return f"the files of {found.models} {what} ({size(found.size_bytes)})"


def _register(
    rest: "Rest", source: str, path: str | None, said: Mapping[str, str | tuple[str, ...] | None]
) -> bytes:
    from api.admin.model_sources import name_of

    name = name_of(source) if said["name"] is None else said["name"]
    body = msgspec.convert({**said, "name": name, "path": path}, ModelInput, strict=False)
    return rest.post("/v1/models", body)


def _await(rest: "Rest", model_id: str, path: str | None) -> bytes:
    """The model once it is ready. Raises: as `await_model`, and with the folder to allow."""
    from api.admin.waiting import await_model

    try:
        return await_model(rest, model_id)
    except AwaitedFailed as error:
        if path is None or _ROOTS_KEY not in error.detail:
            raise
        folder = shlex.quote(str(Path(unquote(urlsplit(path).path)).parent))
        raise AwaitedFailed(
            f"{error.detail}; either send a copy of it with --upload; or add {folder} to {_ROOTS_KEY}, "
            f"or set SPOON_MODELS_FILE_ROOTS={folder}, start the server again, and retry"
        ) from error


def _file_of(path: str | None) -> str | None:
    """The last part of an address, as the file or folder is called on the disk."""
    return None if path is None else unquote(path.partition("?")[0].rstrip("/").rpartition("/")[2])


def _reason_of(model: Model) -> str | None:
    """Why a model cannot be used, without its address, of which the list already says the end."""
    if model.error is None:
        return None
    return beginning(model.error.detail.removeprefix(f"{model.path} "), _REASON_WIDTH)
