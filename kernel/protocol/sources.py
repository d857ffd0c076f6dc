"""Where a model comes from: the addresses that can be registered, read alike by every process.

Nothing is looked up or opened here: what an address leads to is checked where it is used.
"""

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
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
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\]")


class BadSource(ValueError):
    """An address that no model can come from; the text says why."""


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file or folder of the worker's host, used where it is."""

    uri: str


@dataclass(frozen=True, slots=True)
class WebSource:
    """A file on a web server."""

    url: str


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of the Hugging Face hub, or one file of it. Without a revision: its main branch."""

    repo: str
    revision: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class UploadedSource:
    """A file that came in through the API and waits among the uploads; its name is a label."""

    upload: str
    file_name: str


Source = LocalSource | WebSource | HubSource | UploadedSource


def parse_source(uri: str) -> Source:
    """Take an address apart.

    Raises: BadSource, if it is none of those that a model can be registered with.
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
    """Is the model used where it lies, without anything being downloaded or taken over?"""
    return uri.startswith("file:")


def local_path(uri: str) -> Path | None:
    """Where a model lies that is used where it lies; None for one that comes from elsewhere.

    Source: RFC 8089; characters that need no escape are taken as they are.
    """
    rest = uri.removeprefix("file://")
    host, slash, path = rest.partition("/")
    if rest == uri or host not in LOCAL_HOSTS or not slash:
        return None
    name = os.fsdecode(unquote_to_bytes(slash + path))
    return None if "\0" in name else Path(name)


def upload_of(uri: str) -> str | None:
    """The id of the upload that a model is made of; None for a model that comes from elsewhere."""
    found = _UPLOAD.fullmatch(uri)
    return None if found is None else found["upload"]


def is_repository(name: str) -> bool:
    """Can this be the id of a repository on the hub, `owner/name`?"""
    return _REPO.fullmatch(name) is not None and ".." not in name and "--" not in name


def check_url(url: str) -> str:
    """The address of a file on a web server, if it is written in the one way that cannot be misread.

    Raises: BadSource, if it bears a user or a password, or a host that is a number in disguise.
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
    """Let a name or an address through that every reader reads alike.

    Some read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1. A host whose last part is a number is an address
    (https://url.spec.whatwg.org/#ends-in-a-number-checker), so it must be one in the usual form.
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
    """The address of a model that is kept in a models folder, on whichever host that lies."""
    return STORED_SCHEME + name


def is_stored_name(name: str) -> bool:
    """Is this a name that the models folder gives to what it keeps? It is made of the content's sha256."""
    return _STORED_NAME.fullmatch(name) is not None


def incoming_name(model_id: ModelId) -> str:
    """The folder, below the models folder, in which a model is gathered until it is whole."""
    return f"incoming/{model_id}"


def uploaded_name(upload: str) -> str:
    """The file, below the models folder, in which an upload waits to be taken over."""
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
    """Is this a relative name that leads nowhere but down?"""
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and not _FORBIDDEN.search(name.replace(" ", ""))
