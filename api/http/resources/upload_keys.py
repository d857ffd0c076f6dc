"""Uploads with an idempotency key: the same form again is the same command, and leaves no second file."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import msgspec

from api.http.framework.uploads import Uploaded
from kernel.protocol.client import RegisterModel
from kernel.protocol.sources import UPLOAD_SCHEME

_NAME_LENGTH = 32


def named_by_key(
    uploaded: Uploaded, ask: RegisterModel, key: str, is_registered: Callable[[str], bool]
) -> tuple[Uploaded, RegisterModel]:
    """The upload, renamed by its key, its bytes and its fields.

    The Manager answers a repeated command with the stored reply if it has the same bytes, so the URI in it
    must be the same. If it is registered already, this copy is removed.
    Raises: OSError.
    """
    with uploaded.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    label = ask.uri.rpartition("/")[2]
    said = msgspec.json.encode(msgspec.structs.replace(ask, uri=label))
    name = hashlib.sha256(f"{key}\n{content}\n".encode() + said).hexdigest()[:_NAME_LENGTH]
    ask = msgspec.structs.replace(ask, uri=f"{UPLOAD_SCHEME}{name}/{label}")
    if is_registered(ask.uri):
        uploaded.discard()
        return uploaded, ask
    path = uploaded.path.rename(uploaded.path.with_name(name))
    return replace(uploaded, upload=name, path=path), ask
