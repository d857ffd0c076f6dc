"""Source URIs of models, parsed alike by every process.

Nothing is looked up or opened here: the process that uses a source checks where it leads.
"""

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from kernel.protocol.ids import ModelId

PUBLIC_HUB: Final = "https://huggingface.co"
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
class UploadedSource:
    """A file that was uploaded through the API and waits in the uploads folder; its name is a label."""

    upload: str
    file_name: str


Source = LocalSource | WebSource | HubSource | UploadedSource


def parse_source(uri: str) -> Source:
    """Parse a source URI.

    Raises: BadSource, if a model cannot be registered with it.
    """
    scheme = uri.partition(":")[0].lower()
    if scheme in WEB_SCHEMES:
        return WebSource(check_url(uri))
    if uri.startswith(HUB_SCHEME):
        return _hub_source(uri)
    if uri.startswith("file:///"):
        return LocalSource(uri)
    if (found := _UPLOAD.fullmatch(uri)) is not None:
        return UploadedSource(found["upload"], unquote(found["name"]))
    raise BadSource(
        "must begin with https://, http://, hf:// or file:///"
        + (f"; for a file on the server's machine, write file://{uri}" if uri.startswith("/") else "")
    )


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


def is_inside(name: str) -> bool:
    """True for a relative path that cannot leave its folder."""
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and not _FORBIDDEN.search(name.replace(" ", ""))
