"""What CivitAI's API says about a model and its versions, and which file of a version is the model.

Source: https://developer.civitai.com/site/reference/model-versions
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, field

from engine_worker.fetch.pickles import REFUSAL
from engine_worker.fetch.sources.staging import ListedFile, Listing
from engine_worker.formats.metadata import words_of
from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.errors import DownloadFailed, ModelUnreadable
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.sources import CIVITAI_TYPES, BadSource, CivitaiSource, check_url

MAX_TITLE: Final = 150
MAX_LISTED: Final = 8
"""Files listed in an error message."""
_BASES: Final = {
    **dict.fromkeys(("sd 1.4", "sd 1.5", "sd 1.5 lcm", "sd 1.5 hyper"), ModelBase.SD),
    **dict.fromkeys(
        (
            *(
                f"sdxl {kind}"
                for kind in ("0.9", "1.0", "1.0 lcm", "distilled", "turbo", "lightning", "hyper")
            ),
            *("pony", "illustrious", "noobai"),
        ),
        ModelBase.SDXL,
    ),
    "other": None,
}
"""Their base models that are supported, in lower case; of "Other" the inspection says what it is."""
_OTHER_UNETS: Final = ("refiner", "pix2pix")
_MODEL_FILES: Final = ("Model", "Pruned Model")
_VAE: Final = "VAE"
_SAFE: Final = "SafeTensor"
_PICKLE: Final = "PickleTensor"
_DOWNLOADS: Final = "/api/download/"


class FileProperties(msgspec.Struct, frozen=True):
    """The properties by which the site tells the files of a version apart."""

    format: str | None = None
    size: str | None = None
    fp: str | None = None


class Hashes(msgspec.Struct, frozen=True):
    """The digests of a file; the site has none until it has scanned it."""

    sha256: Annotated[str, Meta(pattern="^[0-9A-Fa-f]{64}$")] | None = field(default=None, name="SHA256")


class VersionFile(msgspec.Struct, frozen=True, rename="camel"):
    """A file of a version: the model, or something beside it."""

    name: str
    id: int | None = None
    type: str = "Model"
    primary: bool | None = None
    metadata: FileProperties | None = None
    hashes: Hashes | None = None
    download_url: str | None = None

    @property
    def sha256(self) -> str | None:
        """In lower case."""
        return self.hashes.sha256.lower() if self.hashes is not None and self.hashes.sha256 else None

    @property
    def properties(self) -> dict[str, str | None]:
        """By the names that addresses of downloads have."""
        found = self.metadata or FileProperties()
        format_ = found.format or (_SAFE if self.name.lower().endswith(".safetensors") else None)
        return {"type": self.type, "format": format_, "size": found.size, "fp": found.fp}


class ModelHead(msgspec.Struct, frozen=True):
    """What a version's entry says about its model."""

    name: str
    type: str
    mode: str | None = None


class Version(msgspec.Struct, frozen=True, rename="camel"):
    """A version of a model."""

    id: Annotated[int, Meta(ge=1)]
    name: str
    base_model: str | None = None
    base_model_type: str | None = None
    status: str | None = None
    usage_control: str | None = None
    early_access_ends_at: str | None = None
    availability: str | None = None
    trained_words: tuple[str | None, ...] | None = None
    files: tuple[VersionFile, ...] | None = None
    model_id: int | None = None
    model: ModelHead | None = None


class ModelEntry(ModelHead, frozen=True, rename="camel"):
    """A model, with its versions in the order of its page."""

    model_versions: tuple[Version, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What is asked for."""

    asked: CivitaiSource
    source: ModelSource
    allows_pickle: bool


def choose_version(model: ModelEntry, choice: Choice) -> Version:
    """The first published version, as the page shows it.

    Raises: DownloadFailed, if there is none; ModelUnreadable, if its base is not supported or not the
    declared one, with another version that would do.
    """
    _check_type(model, (), choice.source.model_type)
    published = [one for one in model.model_versions if one.status in (None, "Published")]
    if not published:
        raise DownloadFailed(f"the model {choice.asked.model} ({_line(model.name)}) has no published version")
    chosen = published[0]
    try:
        _base_of(chosen, choice.source.model_base)
    except ModelUnreadable as error:
        fit = next((one for one in published if _fits(one, choice.source.model_base)), None)
        if fit is None:
            raise
        raise ModelUnreadable(
            f"{error.detail}; its version {_line(fit.name)} is for {fit.base_model}: "
            f"civitai:{choice.asked.model}@{fit.id}"
        ) from error
    return msgspec.structs.replace(chosen, model=model)


def listing_of(version: Version, choice: Choice) -> Listing:
    """The one file to download, with what the site says about it.

    Raises: ModelUnreadable, if its type or base is not supported or not the declared one, or no file fits;
    DownloadFailed, if there is nothing to download.
    """
    model, files = version.model, version.files or ()
    if model is None:
        raise DownloadFailed(f"the entry of version {version.id} does not say which model it is of")
    title = _line(f"{model.name} {version.name}")
    _check_type(model, files, choice.source.model_type)
    base = _base_of(version, choice.source.model_base)
    if version.usage_control not in (None, "Download"):
        raise DownloadFailed(f"{title}: its author lets it be used on the site only, and not be downloaded")
    if not files:
        why = f" ({model.mode})" if model.mode else ""
        raise DownloadFailed(f"{title} (version {version.id}) has no files{why}")
    file = _choose_file(version, files, choice)
    return Listing(
        revision=str(version.id),
        files=(ListedFile(name=_path_of(version, file), sha256=file.sha256),),
        title=title,
        model_base=base,
        trigger_words=words_of(_words(version)),
        notice=_notice(version),
    )


def _check_type(model: ModelHead, files: Sequence[VersionFile], wanted: ModelType) -> None:
    """Raises: ModelUnreadable, naming both types. Checkpoints may have a VAE beside them."""
    theirs = CIVITAI_TYPES.get(model.type.lower())
    if theirs is None:
        raise ModelUnreadable(f"{_line(model.name)} is of type {_line(model.type)}, which is not supported")
    if wanted is ModelType.VAE and ((theirs is ModelType.CHECKPOINT and not files) or _has_vae(files)):
        return
    if theirs is not wanted:
        raise ModelUnreadable(
            f"{_line(model.name)} is of type {_line(model.type)} there, but was declared as {wanted}: "
            f"register it with the type {theirs}"
        )


def _has_vae(files: Sequence[VersionFile]) -> bool:
    return any(file.type == _VAE for file in files)


def _base_of(version: Version, declared: ModelBase | None) -> ModelBase | None:
    """Raises: ModelUnreadable, if it is not supported, or not the declared one."""
    name = version.base_model or "Other"
    if name.lower() not in _BASES:
        raise ModelUnreadable(
            f"version {_line(version.name)} is for {_line(name)}, which is not supported: only "
            "models for Stable Diffusion 1.4, 1.5 and SDXL are (also Pony, Illustrious and NoobAI)"
        )
    if (version.base_model_type or "").lower() in _OTHER_UNETS:
        raise ModelUnreadable(
            f"version {_line(version.name)} is a {version.base_model_type} model, which is not supported"
        )
    base = _BASES[name.lower()]
    if None not in (base, declared) and base is not declared:
        raise ModelUnreadable(
            f"version {_line(version.name)} is for {name} ({base}) there, but was "
            f"declared as one for {declared}"
        )
    return base


def _fits(version: Version, declared: ModelBase | None) -> bool:
    try:
        return _base_of(version, declared) is not None
    except ModelUnreadable:
        return False


def _choose_file(version: Version, files: Sequence[VersionFile], choice: Choice) -> VersionFile:
    """The file that is named, else the one with the declared digest, else the wanted precision, else the
    primary one.

    Raises: ModelUnreadable, with the files that there are.
    """
    asked, source = choice.asked, choice.source
    wanted = dict(asked.properties)
    named = [
        file
        for file in files
        if asked.file in (None, file.id)
        and all((file.properties[name] or "").lower() == value.lower() for name, value in wanted.items())
    ]
    models = _models_of(named, source.model_type)
    safe = [file for file in models if file.properties["format"] == _SAFE]
    pickles = [file for file in models if file.properties["format"] == _PICKLE]
    if not safe and pickles and not choice.allows_pickle:
        raise ModelUnreadable(f"{_line(pickles[0].name)} {REFUSAL}")
    fitting = safe or pickles
    if not fitting:
        raise ModelUnreadable(
            f"version {_line(version.name)} has no {'such ' if named != list(files) else ''}file that can be "
            f"used as a {source.model_type}: {_listed(files)}"
        )
    if source.sha256 is not None and all(file.sha256 for file in fitting):
        same = [file for file in fitting if file.sha256 == source.sha256.lower()]
        if not same:
            raise ModelUnreadable(
                f"no file of version {_line(version.name)} has the declared sha256 {source.sha256}: "
                f"{_listed(fitting)}"
            )
        return same[0]
    precise = [
        file for file in fitting if source.variant is not None and file.properties["fp"] == source.variant
    ]
    return next((file for file in precise or fitting if file.primary), (precise or fitting)[0])


def _models_of(files: Sequence[VersionFile], wanted: ModelType) -> list[VersionFile]:
    """The files that are the model, without those beside it. A VAE may be beside its checkpoint."""
    is_beside = wanted is ModelType.VAE and _has_vae(files)
    return [file for file in files if (file.type == _VAE if is_beside else file.type in _MODEL_FILES)]


def _path_of(version: Version, file: VersionFile) -> str:
    """The path of the download on the site, whatever host its address names.

    Raises: DownloadFailed, if it is not one of the site's downloads.
    """
    address = file.download_url or f"https://civitai.com{_DOWNLOADS}models/{version.id}"
    try:
        parts = urlsplit(check_url(address))
    except BadSource as error:
        raise DownloadFailed(f"the address of the file {_line(file.name)} {error}") from error
    if not parts.path.startswith(_DOWNLOADS) or ".." in parts.path:
        raise DownloadFailed(f"the address of the file {_line(file.name)} is not one of a download")
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _words(version: Version) -> Iterator[str]:
    """The words of all phrases, without the tags that call the model in prompts of other tools."""
    for phrase in version.trained_words or ():
        yield from (word for word in (phrase or "").split(",") if "<" not in word)


def _notice(version: Version) -> str:
    if version.availability != "EarlyAccess" and version.early_access_ends_at is None:
        return ""
    until = f" until {_line(version.early_access_ends_at)}" if version.early_access_ends_at else ""
    return f" (the version is in early access{until}: only an account that has bought it may download it)"


def _listed(files: Sequence[VersionFile]) -> str:
    shown = []
    for file in files[:MAX_LISTED]:
        known = [value for name, value in file.properties.items() if value]
        shown.append(f"{_line(file.name)} ({', '.join(map(_line, known))})")
    more = ", ..." if len(files) > MAX_LISTED else ""
    return f"it has {', '.join(shown)}{more}"


def _line(text: str) -> str:
    """A text of the site on one line, bounded."""
    return " ".join(text.split())[:MAX_TITLE]
