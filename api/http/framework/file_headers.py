"""Headers of all responses with a stored file: its tag, its name and its type."""

from pathlib import Path

import falcon

from kernel.protocol.errors import BadMessage


def tag(resp: falcon.Response, sha256: str) -> None:
    """Let a client cache the file, if it revalidates it each time."""
    resp.set_header("ETag", f'"{sha256}"')
    resp.set_header("Cache-Control", "private, no-cache")


def is_known(if_none_match: str | None, sha256: str) -> bool:
    """True if the client has this file already (RFC 9110, section 13.1.2: weak comparison)."""
    tags = {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}
    return "*" in tags or f'"{sha256}"' in tags


def describe(resp: falcon.Response, mime: str, length: int, stem: str) -> None:
    """Set the headers of the file; the extension of its name follows from its type."""
    resp.content_type = mime
    resp.set_header("Content-Length", str(length))
    resp.set_header("Content-Disposition", f'inline; filename="{stem}.{mime.partition("/")[2]}"')


def plain_name(file_name: str) -> str:
    """The name, if it stays inside its folder.

    Raises: BadMessage, if it does not.
    """
    if file_name in ("", "..") or Path(file_name).name != file_name or "\x00" in file_name:
        raise BadMessage("the Manager named a file outside its folder")
    return file_name
