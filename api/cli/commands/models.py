"""`spoon models`: add, list and delete models."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import click
import msgspec

from api.cli.client.client_models import Model, Scan, UnusableFile, find_engine, find_model, list_items
from api.cli.completion import engine_names, model_names
from api.cli.context import Invocation
from api.cli.exit_codes import AwaitedFailed
from api.cli.model_options import model_options
from api.cli.options import WordChoice, all_option, confirm, json_option, limit_option, yes_option
from api.cli.output import beginning, print_json, print_table, print_thing, printable, size
from kernel.protocol.enums import ModelState, ModelType
from kernel.protocol.sources import is_local
from kernel.protocol.type_info import analyzed

if TYPE_CHECKING:
    from api.cli.client.rest import Rest

_ROOTS_KEY: Final = "models.file_roots"
"""The server's error names it, too, when a file lies outside."""
_REASON_WIDTH: Final = 100


class ModelInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /v1/models; the server fills in omitted fields."""

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
    """Its response."""

    models: int
    size_bytes: int
    dry_run: bool


@click.group()
def models() -> None:
    """Add, list and delete models."""


@models.command("list")
@click.option("--type", "model_type", type=WordChoice(ModelType), help="List only models of this type.")
@click.option("--status", type=WordChoice(ModelState), help="List only models with this status.")
@click.option("--tag", metavar="TAG", help="List only models with this tag.")
@click.option(
    "--search",
    metavar="TEXT",
    help="List only models with this text in their name, tags, trigger words or source, in any case.",
)
@click.option(
    "--for",
    "engine",
    metavar="ENGINE",
    shell_complete=engine_names,
    help="List the ready models that fit this engine (an id or name).",
)
@limit_option
@all_option
@json_option
@click.pass_obj
def list_(
    invocation: Invocation,
    model_type: str | None,
    status: str | None,
    tag: str | None,
    search: str | None,
    engine: str | None,
    limit: int,
    is_all: bool,
    as_json: bool,
) -> None:
    """List models, newest first.

    \b
    Examples:
      spoon models list --type checkpoint
      spoon models list --type lora --for portraits
      spoon models list --all --json
    """
    if engine and (status or tag or search):
        raise click.UsageError("--for cannot be combined with --status, --tag and --search")
    query = {"model_type": model_type, "status": status, "tag": tag, "search": search}
    with invocation.rest() as rest:
        path = "/v1/models"
        if engine:
            found = find_engine(rest, engine)
            path, query = f"/v1/engines/{found.engine_id}/models", {"type": model_type}
        items = list_items(rest, path, query, None if is_all else limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    rows = []
    for model in (msgspec.json.decode(item, type=analyzed(Model)) for item in items):
        what = (model.model_id, model.name, model.status, model.model_type, model.model_base)
        rows.append((*what, size(model.size_bytes), _file_of(model.path), _reason_of(model)))
    print_table(("ID", "NAME", "STATUS", "TYPE", "BASE", "SIZE", "FILE", "ERROR"), rows)


@models.command()
@click.argument("model", shell_complete=model_names)
@json_option
@click.pass_obj
def show(invocation: Invocation, model: str, as_json: bool) -> None:
    """Show the details of MODEL (an id or name).

    \b
    Example:
      spoon models show dreams
    """
    from api.cli.client.rest import quoted

    with invocation.rest() as rest:
        body = rest.get(f"/v1/models/{quoted(find_model(rest, model).model_id)}")
    (print_json if as_json else print_thing)(body)


@models.command()
@click.argument("source")
@model_options
@click.option(
    "--upload", "is_upload", is_flag=True, help="Upload SOURCE, a file on this machine, to the server."
)
@click.option(
    "--wait", "is_waiting", is_flag=True, help="Wait until the model is ready and show a progress bar."
)
@json_option
@click.pass_obj
def add(
    invocation: Invocation,
    /,
    source: str,
    model_type: str | None,
    name: str | None,
    is_upload: bool,
    is_waiting: bool,
    as_json: bool,
    **said: str | tuple[str, ...] | None,
) -> None:
    """Add the model at SOURCE. The server downloads it if it is remote.

    \b
    SOURCE is one of:
      - a file or diffusers folder inside models.file_roots; with --upload, any file on this machine
      - an https:// or http:// URL
      - a Hugging Face repository: owner/name, or hf://owner/name[@revision][/file]
      - a model on CivitAI: civitai:MODEL[@VERSION], its AIR, or the URL of its page

    \b
    Examples:
      spoon models add ./dreams.safetensors --type checkpoint --wait
      spoon models add civitai:12345@67890 --type lora --wait
      spoon models add owner/dreams --type checkpoint --variant fp16
      spoon models add ./cutter.onnx --type background --upload --mean 0.5,0.5,0.5 --std 1,1,1
    """
    from api.cli.client.model_sources import address_of, type_of, upload
    from api.cli.client.rest import read

    path = None if is_upload else address_of(source)
    said = {"name": name, "model_type": model_type or type_of(source), **said}
    with invocation.rest() as rest:
        answer = upload(rest, source, said) if is_upload else _register(rest, source, path, said)
        if is_waiting:
            answer = _await(rest, read(answer, Model).model_id, path)
    if as_json:
        print_json(answer)
    else:
        _tell(read(answer, Model))


@models.command()
@click.argument("model", shell_complete=model_names)
@click.option("--wait", "is_waiting", is_flag=True, help="Wait until the model is ready.")
@click.pass_obj
def retry(invocation: Invocation, model: str, is_waiting: bool) -> None:
    """Retry MODEL (an id or name) after an error, or inspect a ready one again. A download resumes.

    \b
    Examples:
      spoon models retry dreams
      spoon models retry dreams --wait
    """
    from api.cli.client.rest import quoted, read

    with invocation.rest() as rest:
        found = find_model(rest, model)
        answer = rest.post(f"/v1/models/{quoted(found.model_id)}/retry")
        again = read(_await(rest, found.model_id, found.path) if is_waiting else answer, Model)
    _tell(again)


def _tell(model: Model) -> None:
    click.echo(f"{model.model_id}  {model.name}: {model.status}")
    for warning in model.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)


@models.command()
@click.argument("model", shell_complete=model_names)
@click.option("--files", is_flag=True, help="Also remove its downloaded or uploaded files.")
@click.pass_obj
def delete(invocation: Invocation, model: str, files: bool) -> None:
    """Delete MODEL (an id or name).

    A local file stays where it is. Downloaded and uploaded files stay in models.folder until you run `spoon
    models prune`, unless you pass --files.

    \b
    Examples:
      spoon models delete dreams
      spoon models delete dreams --files
    """
    from api.cli.client.rest import quoted

    with invocation.rest() as rest:
        found = find_model(rest, model)
        rest.delete(f"/v1/models/{quoted(found.model_id)}", {"files": "true"} if files else None)
    click.echo(f"deleted {found.name}")
    if not files and found.path is not None and not is_local(found.path):
        click.echo("its files stay in models.folder until `spoon models prune`", err=True)


@models.command()
@click.option(
    "--dry-run", is_flag=True, help="Show how many models and bytes would be removed, without removing them."
)
@yes_option
@json_option
@click.pass_obj
def prune(invocation: Invocation, dry_run: bool, is_sure: bool, as_json: bool) -> None:
    """Remove the downloaded and uploaded files of deleted models from models.folder.

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


@models.command()
@click.option(
    "--wait/--no-wait", "is_waiting", default=True, help="Wait until the scan has ended. [default: wait]"
)
@json_option
@click.pass_obj
def scan(invocation: Invocation, is_waiting: bool, as_json: bool) -> None:
    """Look for new, changed, moved and lost models in models.folders.

    The server does this by itself at its start and every models.scan_every, unless models.scan is false.

    \b
    Examples:
      spoon models scan
      spoon models scan --no-wait
    """
    from api.cli.client.rest import read
    from api.cli.client.wait import await_scan

    with invocation.rest() as rest:
        answer = rest.post("/v1/models/scan")
        if is_waiting:
            answer = await_scan(rest)
    if as_json:
        print_json(answer)
        return
    found = read(answer, Scan)
    click.echo(f"{'scanning' if found.running else 'scanned'} {_files(found.files)}: {_changes_of(found)}")
    for folder in found.absent:
        click.echo(f"warning: the folder {printable(folder)} cannot be read", err=True)
    if found.unusable:
        click.echo(f"{_files(found.unusable)} cannot be used: see `spoon models unusable`", err=True)


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


def _changes_of(scan: Scan) -> str:
    counts = {"new": scan.added, "changed": scan.changed, "moved": scan.moved, "gone": scan.gone}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing new"


@models.command()
@limit_option
@all_option
@json_option
@click.pass_obj
def unusable(invocation: Invocation, limit: int, is_all: bool, as_json: bool) -> None:
    """List the files in models.folders that cannot be used, and why.

    \b
    Examples:
      spoon models unusable --all
      spoon models unusable --json
    """
    with invocation.rest() as rest:
        items = list_items(rest, "/v1/models/scan/unusable", {}, None if is_all else limit)
    if as_json:
        print_json(msgspec.json.encode(items))
        return
    found = [msgspec.json.decode(item, type=analyzed(UnusableFile)) for item in items]
    print_table(("FILE", "REASON"), [(one.path, one.reason) for one in found])


def _pruned(rest: "Rest", *, dry_run: bool) -> ModelsRemoved:
    from api.cli.client.rest import read

    return read(rest.post("/v1/models/prune", ModelPruneInput(dry_run=dry_run)), ModelsRemoved)


def _counted(found: ModelsRemoved) -> str:
    what = "deleted model" if found.models == 1 else "deleted models"
    return f"the files of {found.models} {what} ({size(found.size_bytes)})"


def _register(
    rest: "Rest", source: str, path: str | None, said: Mapping[str, str | tuple[str, ...] | None]
) -> bytes:
    from api.cli.client.model_sources import name_of

    name = name_of(source) if said["name"] is None else said["name"]
    body = msgspec.convert({**said, "name": name, "path": path}, analyzed(ModelInput), strict=False)
    return rest.post("/v1/models", body)


def _await(rest: "Rest", model_id: str, path: str | None) -> bytes:
    """The model once it is ready. Raises: as `await_model`, naming the folder to allow."""
    from api.cli.client.wait import await_model

    try:
        return await_model(rest, model_id)
    except AwaitedFailed as error:
        if path is None or _ROOTS_KEY not in error.detail:
            raise
        folder = shlex.quote(str(Path(unquote(urlsplit(path).path)).parent))
        raise AwaitedFailed(
            f"{error.detail}; either add it with --upload, or add {folder} to {_ROOTS_KEY} "
            f"(or set SPOON_MODELS_FILE_ROOTS={folder}), restart the server, and run `spoon models retry`"
        ) from error


def _file_of(path: str | None) -> str | None:
    """The last part of a URL: the name of the file or folder on disk."""
    return None if path is None else unquote(path.partition("?")[0].rstrip("/").rpartition("/")[2])


def _reason_of(model: Model) -> str | None:
    """Why a model cannot be used, without its URL, whose end is already in the list."""
    if model.error is None:
        return None
    return beginning(model.error.detail.removeprefix(f"{model.path} "), _REASON_WIDTH)
