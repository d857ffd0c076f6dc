"""Models in HTTP requests and responses, and their conversion to and from the bus."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from api.http.contract.constraints import Limit, check_line
from api.http.contract.progress import DownloadProgress, bytes_progress_of
from api.http.contract.remover_options import Deviation, InputSize, Mean, check_preparation, preparation_of
from api.http.contract.responses import StoredError, moment, stored_error
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.client import ModelProgress, RegisterModel
from kernel.protocol.enums import ControlType, ModelBase, ModelState, ModelType, Variant
from kernel.protocol.model_refs import Preparation
from kernel.protocol.rows import ModelRow
from kernel.protocol.sources import (
    HUB_SCHEME,
    BadSource,
    CivitaiSource,
    UploadedSource,
    is_repository,
    parse_source,
)
from kernel.protocol.values import Name, Sha256, Tags, Uri
from kernel.views.models import ModelFilter

OWNER: Final = "automatic-spoon"
"""What OpenAI's clients are told of the owner of every model."""
_NO_PATH: Final = (
    "is required: https://..., hf://owner/repo, civitai:MODEL@VERSION or file:///...; "
    "it is optional only if name is a Hugging Face repository, owner/repo"
)


class ModelValues(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says about a model, wherever it comes from."""

    model_type: ModelType
    model_base: ModelBase | None = None
    variant: Variant | None = None
    tags: Tags = ()
    sha256: Sha256 | None = None
    trigger_words: Tags = ()
    control_type: ControlType | None = None
    input_size: InputSize | None = None
    mean: Mean | None = None
    std: Deviation | None = None


class ModelInput(ModelValues, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model to register.

    `path` is an https:// or http:// URL, hf://owner/repo[@revision][/file], a model on CivitAI
    (civitai:model[@version], its AIR or the URL of its page), or a file:// URL in one of the folders of
    models.file_roots. Without `path`, `name` must be a repository on the Hugging Face Hub.
    """

    name: Name
    path: Uri | None = None


class ModelDeleteQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether to delete the downloaded files too, unless another model uses them."""

    files: bool = False


class ModelPruneInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Delete the files that deleted models left behind, or only count them."""

    dry_run: bool = False


class ModelsRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """The files of deleted models that were removed, or would be without `dry_run`."""

    models: int
    size_bytes: int
    dry_run: bool


class ModelListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of the list, and its page."""

    limit: Limit = 50
    after: str | None = None
    status: ModelState | None = None
    model_type: ModelType | None = None
    model_base: ModelBase | None = None
    name: str | None = None
    tag: str | None = None
    search: str | None = None
    """Text in its name, its tags, its trigger words or its address, in any case."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model, with the results of its inspection."""

    model_id: str
    name: str
    status: ModelState
    path: str
    error: StoredError | None
    model_type: ModelType
    model_base: ModelBase | None
    variant: Variant | None
    tags: tuple[str, ...]
    trigger_words: tuple[str, ...]
    control_type: ControlType | None
    input_size: tuple[int, int] | None
    """Background removers only, as registered: width and height of the input; then mean and standard
    deviation of its colors."""
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    sha256: str | None
    size_bytes: int | None
    progress: DownloadProgress | None
    prediction_type: str | None
    parameters: int | None
    memory_bytes: int | None
    native_size: int | None
    """The width and height in pixels that a checkpoint was trained at, or that a background remover takes."""
    revision: str | None
    """The commit of the repository that it was taken from, or its version on CivitAI."""
    warnings: tuple[str, ...]
    """What its inspection found that you should know, although the model can be used."""
    thumbnail: str | None
    """Where to get the image that is beside its file."""
    created_at: datetime


class OneModel(Model, frozen=True, kw_only=True):
    """A model, which clients of OpenAI's API can read, too."""

    id: str
    """As it was asked for: its id or name."""
    object: Literal["model"] = "model"
    created: int
    """Seconds since 1970 UTC."""
    owned_by: str = OWNER


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of models, newest first; `next` is the cursor of the next page."""

    items: tuple[Model, ...]
    next: str | None


def one_model_of(model: Model, asked: str) -> OneModel:
    """A single model as a response."""
    values = {name: getattr(model, name) for name in Model.__struct_fields__}
    return OneModel(**values, id=asked, created=int(model.created_at.timestamp()))


def check_model(found: ModelInput, faults: ValidationErrors) -> None:
    """Check a model to be registered."""
    check_words(found, faults)
    _check_path(found, faults)


def check_upload(found: ModelInput, faults: ValidationErrors) -> None:
    """Check the fields that come with an uploaded file."""
    check_words(found, faults)
    if found.path is not None:
        faults.wrong("path", "must not be set for an uploaded file")


def check_words(found: ModelInput, faults: ValidationErrors) -> None:
    """Check the fields that do not depend on the model's source."""
    check_line("name", found.name, faults)
    check_line("sha256", found.sha256, faults)
    if found.control_type is not None and found.model_type is not ModelType.CONTROLNET:
        faults.wrong("control_type", "applies to models of type controlnet only")
    is_background = found.model_type is ModelType.BACKGROUND
    check_preparation(found, faults, is_background=is_background)
    for field, texts in (("tags", found.tags), ("trigger_words", found.trigger_words)):
        for index, text in enumerate(texts):
            check_line(f"{field}[{index}]", text, faults)


def register_model(found: ModelInput) -> RegisterModel:
    """The command for a checked input. Different spellings of a model on CivitAI are one source."""
    uri, model_base = _uri_of(found.path or f"{HUB_SCHEME}{found.name}"), found.model_base
    if found.path is not None and isinstance(source := parse_source(uri), CivitaiSource):
        uri, model_base = source.uri, model_base or source.model_base
    return RegisterModel(
        name=found.name,
        uri=uri,
        model_type=found.model_type,
        model_base=model_base,
        variant=found.variant,
        tags=tuple(dict.fromkeys(found.tags)),
        sha256=found.sha256.lower() if found.sha256 else None,
        trigger_words=tuple(dict.fromkeys(found.trigger_words)),
        control_type=found.control_type,
        preparation=preparation_of(found),
    )


def filter_of(query: ModelListQuery) -> ModelFilter:
    """The filter of a checked query."""
    return ModelFilter(
        status=query.status,
        model_type=query.model_type,
        model_base=query.model_base,
        name=query.name,
        tag=query.tag,
        search=query.search or None,
    )


def model_of(row: ModelRow, progress: ModelProgress | None) -> Model:
    """A model as a response."""
    said = row.preparation or Preparation()
    return Model(
        model_id=row.model_id,
        name=row.name,
        status=row.status,
        path=row.uri,
        error=stored_error(row.error_code, row.error),
        model_type=row.model_type,
        model_base=row.model_base,
        variant=row.variant,
        tags=row.tags,
        trigger_words=row.trigger_words or row.found_words,
        control_type=row.control_type,
        input_size=said.input_size,
        mean=said.mean,
        std=said.std,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        progress=bytes_progress_of(progress) if row.status is ModelState.DOWNLOADING else None,
        prediction_type=row.prediction_type,
        parameters=row.parameters,
        memory_bytes=row.memory_bytes,
        native_size=row.native_size_px,
        revision=row.revision,
        warnings=row.warnings,
        thumbnail=None if row.thumbnail is None else f"/v1/models/{row.model_id}/thumbnail",
        created_at=moment(row.created_at_ms),
    )


def _check_path(found: ModelInput, faults: ValidationErrors) -> None:
    if found.path is None:
        if not is_repository(found.name):
            faults.wrong("path", _NO_PATH)
        return
    check_line("path", found.path, faults)
    try:
        source = parse_source(_uri_of(found.path))
    except BadSource as error:
        faults.wrong("path", str(error))
        return
    if isinstance(source, UploadedSource):
        faults.wrong("path", "must begin with https://, http://, hf://, civitai: or file:///")
    if isinstance(source, CivitaiSource):
        said = (("model_type", found.model_type, source.model_type),)
        for field, declared, theirs in (*said, ("model_base", found.model_base, source.model_base)):
            if None not in (declared, theirs) and declared is not theirs:
                faults.wrong(field, f"is {declared}, but path says {theirs}: leave out one, or correct it")


def _uri_of(path: str) -> str:
    """The URL with its scheme in lower case and without the redundant host of `file://localhost/`."""
    scheme, separator, rest = path.partition("://")
    scheme = scheme.lower()
    return f"{scheme}{separator}{rest.removeprefix('localhost') if scheme == 'file' else rest}"
