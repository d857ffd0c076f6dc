"""Receives a model as a form: a file, and the fields of POST /v1/models."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Final
from urllib.parse import quote

import falcon
import msgspec
from msgspec import Meta

from api.http.contract.model_types import ModelInput, ModelValues, check_upload, register_model
from api.http.contract.request_parsing import read_fields
from api.http.framework.upload_stream import UploadStream
from api.http.framework.uploads import Receiver, Uploaded, UploadLimits
from kernel.protocol.client import RegisterModel
from kernel.protocol.errors import wrong_field
from kernel.protocol.sources import UPLOAD_SCHEME
from kernel.protocol.values import Name

MAX_FILE_NAME: Final = 100
_LISTS: Final = frozenset({"tags", "trigger_words", "input_size", "mean", "std"})
_PIECE_BYTES: Final = 1 << 20


class ModelUpload(ModelValues, frozen=True, kw_only=True):
    """A model file and the fields that describe it. Repeat a field to send a list."""

    file: Annotated[str, Meta(extra_json_schema={"contentMediaType": "application/octet-stream"})]
    name: Name | None = None


def receive(req: falcon.Request, limits: UploadLimits) -> Uploaded:
    """The uploaded file of a request, durable.

    Our own server has written it while it arrived; another WSGI server's body is written now.
    Raises: Malformed, InvalidField, TooLarge, DiskFull; then nothing of it is left.
    """
    body: object = req.env["wsgi.input"]
    if isinstance(body, UploadStream):
        return body.finish()
    receiver = Receiver(limits, req.content_type, req.content_length)
    while piece := req.bounded_stream.read(_PIECE_BYTES):
        receiver.take(piece)
    return receiver.finish()


def register_upload(uploaded: Uploaded) -> RegisterModel:
    """The command for an uploaded file. Without a name the model has the file's name.

    Raises: InvalidField or NotSupported with every wrong field.
    """
    label = _label(uploaded.file_name)
    fields = {"name": [PurePosixPath(label).stem or label]} | uploaded.fields
    found = _input_of(fields)
    uri = f"{UPLOAD_SCHEME}{uploaded.upload}/{quote(label, safe='')}"
    return msgspec.structs.replace(register_model(found), uri=uri)


def _label(file_name: str) -> str:
    """The file's name without a folder, cut to the length of a column."""
    name = file_name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[-MAX_FILE_NAME:] or "model"


def _input_of(fields: Mapping[str, list[str]]) -> ModelInput:
    twice = [name for name, values in fields.items() if len(values) > 1 and name not in _LISTS]
    if twice:
        raise wrong_field(twice[0], "must be sent once")
    raw: dict[str, object] = {name: v if name in _LISTS else v[0] for name, v in fields.items()}
    return read_fields(ModelInput, raw, frozenset(), check_upload, strict=False)
