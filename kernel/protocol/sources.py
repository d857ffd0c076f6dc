"""Source URIs of models, parsed alike by every process.

Nothing is looked up or opened here: the process that uses a source checks where it leads.
"""

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, unquote_to_bytes, urlencode, urlsplit

from kernel.protocol.enums import ModelBase, ModelType
from kernel.protocol.ids import ModelId

PUBLIC_HUB: Final = "https://huggingface.co"
PUBLIC_CIVITAI: Final = "https://civitai.com"
HUB_SCHEME: Final = "hf://"
UPLOAD_SCHEME: Final = "upload:"
STORED_SCHEME: Final = "stored:"
WEB_SCHEMES: Final = ("http", "https")
LOCAL_HOSTS: Final = ("", "localhost")

_HUB: Final = re.compile(
    r"hf://(?P<repo>[^/@\s]+/[^/@\s]+)(?:@(?P<revision>[^/@\s]+))?(?:/(?P<file>[^\0]+))?"
)
_REPO: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_UPLOAD: Final = re.compile(r"upload:(?P<upload>[0-9a-f]{32})/(?P<name>[^/\0]{1,255})")
_STORED_NAME: Final = re.compile(r"files/[0-9a-f]{64}\.(safetensors|onnx)|trees/[0-9a-f]{64}")
_SUFFIXES: Final = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".onnx"})
_CACHED: Final = "models--"
_OF_EVERY_FOLDER: Final = ("diffusion_pytorch_model", "pytorch_lora_weights", "adapter_model", "model")
"""Files that programs name alike, in folders with names."""
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\]")

CIVITAI_TYPES: Final = {
    "checkpoint": ModelType.CHECKPOINT,
    "model": ModelType.CHECKPOINT,
    "lora": ModelType.LORA,
    "locon": ModelType.LORA,
    "lycoris": ModelType.LORA,
    "dora": ModelType.LORA,
    "textualinversion": ModelType.EMBEDDING,
    "embedding": ModelType.EMBEDDING,
    "vae": ModelType.VAE,
    "controlnet": ModelType.CONTROLNET,
}
"""The types of CivitAI's pages and of its AIRs, in lower case, that are supported."""
_ECOSYSTEMS: Final = {
    "sd1": ModelBase.SD,
    "sd15": ModelBase.SD,
    **dict.fromkeys(("sdxl", "sdxldistilled", "pony", "illustrious", "noobai"), ModelBase.SDXL),
    "other": None,
    "multi": None,
}
_FORMATS: Final = {
    **dict.fromkeys(("safetensors", "safetensor"), "SafeTensor"),
    **dict.fromkeys(("ckpt", "pt", "pickletensor"), "PickleTensor"),
}
"""The formats of AIRs, by CivitAI's names for them; the first word of each is the usual one."""
_ID: Final = r"[1-9][0-9]{0,11}"
_AIR: Final = re.compile(
    r"(?:urn:)?(?:air:)?(?:(?P<ecosystem>[\w-]{1,40}):)?(?:(?P<type>[\w-]{1,40}):)?civitai:"
    rf"(?P<model>{_ID})(?:@(?P<version>{_ID}))?(?:\+(?P<file>{_ID}))?(?:\.(?P<format>[\w-]{{1,40}}))?",
    re.ASCII | re.IGNORECASE,
)
_AIR_OF_OTHERS: Final = re.compile(r"(?:urn:)?air:.*", re.IGNORECASE)
_CIVITAI_HOSTS: Final = frozenset(
    f"{www}civitai.{ending}" for www in ("", "www.") for ending in ("com", "red", "green")
)
_CIVITAI_PATH: Final = re.compile(
    rf"(?:/api/v1)?/models/(?P<model>{_ID})(?:/.*)?"
    rf"|(?:/api/download/models|(?:/api/v1)?/model-versions)/(?P<version>{_ID})/?"
)
_PROPERTIES: Final = ("type", "format", "size", "fp")
_MAX_QUERY_FIELDS: Final = 32


class BadSource(ValueError):
    """A URI that cannot be a model's source; the message says why."""


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file or folder of the worker's host, used in place."""

    uri: str


@dataclass(frozen=True, slots=True)
class WebSource:
    """A file on a web server."""

    url: str


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of the Hugging Face hub, or one of its files. Without a revision: the main branch."""

    repo: str
    revision: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class CivitaiSource:
    """A version of a model on CivitAI; without one, the first that its page shows. One of both ids is set."""

    model: int | None = None
    version: int | None = None
    file: int | None = None
    """One of the version's files; None: the primary one that fits."""
    properties: tuple[tuple[str, str], ...] = ()
    """What the file must have of `type`, `format`, `size` and `fp`, in CivitAI's words."""
    model_type: ModelType | None = None
    """As the AIR says, then its base."""
    model_base: ModelBase | None = None

    @property
    def uri(self) -> str:
        """The same source in its one usual form, without what an AIR says about the model."""
        if self.model is None:
            query = {**dict(self.properties), **({} if self.file is None else {"fileId": str(self.file)})}
            address = f"{PUBLIC_CIVITAI}/api/download/models/{self.version}"
            return f"{address}?{urlencode(query)}" if query else address
        version = "" if self.version is None else f"@{self.version}"
        file = "" if self.file is None else f"+{self.file}"
        kind = dict(self.properties).get("format")
        ending = next((f".{word}" for word, name in _FORMATS.items() if name == kind), "")
        return f"civitai:{self.model}{version}{file}{ending}"

    @property
    def default_name(self) -> str:
        """The name of a model until its title is known."""
        if self.model is None:
            return f"civitai-version-{self.version}"
        return f"civitai-{self.model}" + ("" if self.version is None else f"-{self.version}")


@dataclass(frozen=True, slots=True)
class UploadedSource:
    """A file that was uploaded through the API and waits in the uploads folder; its name is a label."""

    upload: str
    file_name: str


Source = LocalSource | WebSource | HubSource | CivitaiSource | UploadedSource


def parse_source(uri: str) -> Source:
    """Parse a source URI.

    Raises: BadSource, if a model cannot be registered with it.
    """
    scheme = uri.partition(":")[0].lower()
    if scheme in WEB_SCHEMES:
        parts = urlsplit(check_url(uri))
        return _civitai_page(parts) if _is_civitai(parts) else WebSource(uri)
    if uri.startswith(HUB_SCHEME):
        return _hub_source(uri)
    if uri.startswith("file:///"):
        return LocalSource(uri)
    if (found := _UPLOAD.fullmatch(uri)) is not None:
        return UploadedSource(found["upload"], unquote(found["name"]))
    if is_air(uri):
        return _air_source(uri)
    raise BadSource(
        "must begin with https://, http://, hf://, civitai: or file:///"
        + (f"; for a file on the server's machine, write file://{uri}" if uri.startswith("/") else "")
    )


def is_air(uri: str) -> bool:
    """True for `civitai:...`, and for an AIR, which may be one of another site."""
    return ":civitai:" in f":{uri[:200].lower()}" or _AIR_OF_OTHERS.fullmatch(uri) is not None


def default_name(uri: str) -> str | None:
    """The name of a model that was given none, until its site has said its title; None for other sources."""
    try:
        source = parse_source(uri)
    except BadSource:
        return None
    return source.default_name if isinstance(source, CivitaiSource) else None


def is_local(uri: str) -> bool:
    """True if the model is used in place, without a download."""
    return uri.startswith("file:")


def local_path(uri: str) -> Path | None:
    """The path of a model that is used in place; None for other sources.

    Source: RFC 8089; characters that need no escape are taken literally.
    """
    rest = uri.removeprefix("file://")
    host, slash, path = rest.partition("/")
    if rest == uri or host not in LOCAL_HOSTS or not slash:
        return None
    name = os.fsdecode(unquote_to_bytes(slash + path))
    return None if "\0" in name else Path(name)


def path_uri(path: str) -> str:
    """The URI of a model that is used in place, at an absolute path."""
    return Path(path).as_uri()


def name_of_path(path: str) -> str:
    """The name that people know a model by: of its file without the suffix, or of its folder. That of a
    download cache, `models--owner--name/snapshots/COMMIT`, is `owner/name`."""
    parts = path.split("/")
    if stem_of(parts[-1]) in _OF_EVERY_FOLDER:
        return name_of_path(path.rpartition("/")[0])
    if parts[-2:-1] == ["snapshots"] and parts[-3].startswith(_CACHED):
        return parts[-3].removeprefix(_CACHED).replace("--", "/")
    return stem_of(parts[-1])


def stem_of(name: str) -> str:
    """A file's name without the suffix of a model."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in _SUFFIXES else name


def upload_of(uri: str) -> str | None:
    """The id of the upload that a model comes from; None for other sources."""
    found = _UPLOAD.fullmatch(uri)
    return None if found is None else found["upload"]


def is_repository(name: str) -> bool:
    """True if this can be a repository id on the hub, `owner/name`."""
    return _REPO.fullmatch(name) is not None and ".." not in name and "--" not in name


def check_url(url: str) -> str:
    """Check that a web URL is written in its one unambiguous form, and return it.

    Raises: BadSource, if it has a user or password, or a disguised numeric host.
    """
    if _FORBIDDEN.search(url):
        raise BadSource("must not contain spaces, control characters or backslashes: write %20 for a space")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadSource(f"is not a valid URL: {error}") from error
    if parts.scheme.lower() not in WEB_SCHEMES:
        raise BadSource("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise BadSource("must not contain a user name or password: set a token in models.tokens")
    if not parts.hostname or port == 0:
        raise BadSource("must name a host")
    check_host(parts.hostname)
    return url


def check_host(host: str) -> None:
    """Check that every URL parser reads this host alike.

    Some read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1. A host whose last label is a number is an
    address (https://url.spec.whatwg.org/#ends-in-a-number-checker), so it must have the usual form.
    Raises: BadSource.
    """
    if "%" in host:
        raise BadSource("must name its host without a zone or percent escapes")
    try:
        ip_address(host)
    except ValueError:
        last = host.removesuffix(".").rpartition(".")[2]
        if _NUMBER.fullmatch(last) or not last:
            raise BadSource("must write an IPv4 address as four decimal numbers") from None


def stored_uri(name: str) -> str:
    """The URI of a model that is stored in a models folder, on any host."""
    return STORED_SCHEME + name


def is_stored_name(name: str) -> bool:
    """True for names in the models folder, which are made from the content's sha256."""
    return _STORED_NAME.fullmatch(name) is not None


def incoming_name(model_id: ModelId) -> str:
    """The staging folder of a download, relative to the models folder."""
    return f"incoming/{model_id}"


def uploaded_name(upload: str) -> str:
    """The file of an upload, relative to the models folder."""
    return f"uploads/{upload}"


def _hub_source(uri: str) -> HubSource:
    found = _HUB.fullmatch(uri)
    if found is None or not is_repository(found["repo"]):
        raise BadSource("must name a repository: hf://owner/name, optionally with @revision and /file")
    file = None if found["file"] is None else unquote(found["file"])
    if file is not None and not is_inside(file):
        raise BadSource("must name a file in the repository")
    revision = None if found["revision"] is None else unquote(found["revision"])
    return HubSource(repo=found["repo"], revision=revision, file=file)


def _air_source(uri: str) -> CivitaiSource:
    """Source: https://developer.civitai.com/site/guide/air

    Raises: BadSource, also for an ecosystem, a type or a format that is not supported.
    """
    found = _AIR.fullmatch(uri)
    if found is None and _AIR_OF_OTHERS.fullmatch(uri) and ":civitai:" not in uri.lower():
        raise BadSource("names a model of another site: an AIR must have the source civitai")
    if found is None:
        raise BadSource(
            "must be civitai:MODEL or civitai:MODEL@VERSION with CivitAI's numbers, or "
            "urn:air:ECOSYSTEM:TYPE:civitai:MODEL@VERSION"
        )
    ecosystem, type_ = (found["ecosystem"] or "").lower(), (found["type"] or "").lower()
    if ecosystem in CIVITAI_TYPES and not type_:
        ecosystem, type_ = "", ecosystem
    if ecosystem and ecosystem not in _ECOSYSTEMS:
        raise BadSource(f"names a model for {ecosystem}, which is not supported: only sd1 and sdxl are")
    if type_ and type_ not in CIVITAI_TYPES:
        raise BadSource(f"names a model of type {type_}, which is not supported")
    kind = (found["format"] or "").lower()
    if kind and kind not in _FORMATS:
        raise BadSource(f"names the format {kind}, which is not supported: leave it out, or use safetensors")
    return CivitaiSource(
        model=int(found["model"]),
        version=int(found["version"]) if found["version"] else None,
        file=int(found["file"]) if found["file"] else None,
        properties=(("format", _FORMATS[kind]),) if kind else (),
        model_type=CIVITAI_TYPES.get(type_),
        model_base=_ECOSYSTEMS.get(ecosystem),
    )


def _is_civitai(parts: SplitResult) -> bool:
    host = (parts.hostname or "").removesuffix(".")
    return host in _CIVITAI_HOSTS and parts.port in (None, 80, 443)


def _civitai_page(parts: SplitResult) -> CivitaiSource:
    """The model of a page, a download or an entry of the public API.

    Raises: BadSource.
    """
    found = _CIVITAI_PATH.fullmatch(parts.path)
    if found is None:
        raise BadSource(
            "is a page of CivitAI that shows no model: use https://civitai.com/models/NUMBER, "
            "civitai:MODEL@VERSION, or the address of a download"
        )
    try:
        query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError as error:
        raise BadSource("has too many values after the question mark") from error
    if "token" in query:
        raise BadSource(
            'must not contain a token: set models.tokens = ["civitai.com=env:CIVITAI_TOKEN"] instead'
        )
    if found["model"] is not None:
        return CivitaiSource(model=int(found["model"]), version=_number(query, "modelVersionId"))
    properties = tuple((name, query[name][0]) for name in _PROPERTIES if name in query)
    return CivitaiSource(version=int(found["version"]), file=_number(query, "fileId"), properties=properties)


def _number(query: dict[str, list[str]], name: str) -> int | None:
    """Raises: BadSource, if it is no id, or several."""
    values = set(query.get(name, ()))
    if not values:
        return None
    value = values.pop()
    if values or not re.fullmatch(_ID, value):
        raise BadSource(f"must have one number as {name}")
    return int(value)


def is_inside(name: str) -> bool:
    """True for a relative path that cannot leave its folder."""
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and not _FORBIDDEN.search(name.replace(" ", ""))
