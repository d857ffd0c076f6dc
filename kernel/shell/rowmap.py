"""Converts rows of the core to SQL bindings and back."""

from typing import Final

import msgspec
from msgspec.structs import asdict, fields, replace

from kernel.protocol import client
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import (
    BlobRow,
    DeliveryRow,
    EngineRow,
    ImageRow,
    JobRow,
    KeyRow,
    KeyUseRow,
    ModelRow,
    ScannedFile,
    ScanRow,
    WebhookRow,
    WorkerTokenRow,
)
from kernel.protocol.specs import JobSpec
from kernel.protocol.type_info import analyzed

SqlValue = None | int | float | bytes | str
Bindings = dict[str, SqlValue]
SqlRow = tuple[SqlValue, ...]

_msgpack: Final = msgspec.msgpack.Encoder()
_reply: Final[msgspec.msgpack.Decoder[client.SingleReply]] = msgspec.msgpack.Decoder(
    analyzed(client.SingleReply)
)
_json: Final = msgspec.json.Encoder()
_job_spec: Final = msgspec.json.Decoder(analyzed(JobSpec))


def to_json(value: object) -> str:
    return _json.encode(value).decode()


def reply_to_store(reply: client.SingleReply) -> bytes:
    """A reply without the spec of its job, whose row has it."""
    if isinstance(reply, client.JobAccepted):
        reply = replace(reply, spec=None)
    return _msgpack.encode(reply)


def stored_reply(data: bytes) -> client.SingleReply:
    return _reply.decode(data)


_LISTS_OF_A_MODEL: Final = ("tags", "trigger_words", "found_words", "warnings")


def model_bindings(row: ModelRow) -> Bindings:
    words = {name: to_json(getattr(row, name)) for name in _LISTS_OF_A_MODEL}
    parts = {"memory": row.memory, "preparation": row.preparation}
    return asdict(row) | words | {name: part and to_json(part) for name, part in parts.items()}


def engine_bindings(row: EngineRow) -> Bindings:
    return {
        "engine_id": row.engine_id,
        "name": row.name,
        "spec": to_json(row.spec),
        "status": row.status,
        "error_code": row.error_code,
        "error": row.error,
        "device": row.device,
        "memory_bytes": row.memory_bytes,
        "created_at_ms": row.created_at_ms,
        "started_at_ms": row.started_at_ms,
        "waits_since_ms": row.waits_since_ms,
        "waits_reason": row.waits_reason,
        "failing_since_ms": row.failing_since_ms,
        "retry_at_ms": row.retry_at_ms,
        "paused_since_ms": row.paused_since_ms,
    }


def scan_bindings(row: ScanRow) -> Bindings:
    return asdict(row) | {"absent": to_json(row.absent)}


def key_bindings(row: KeyRow) -> Bindings:
    return asdict(row) | {"limits": to_json(row.limits)}


def webhook_bindings(row: WebhookRow) -> Bindings:
    return asdict(row) | {"events": to_json(row.events)}


_Row = (
    ModelRow
    | EngineRow
    | JobRow
    | ImageRow
    | ScannedFile
    | ScanRow
    | KeyRow
    | KeyUseRow
    | WebhookRow
    | DeliveryRow
    | WorkerTokenRow
)


def _names(kind: type[_Row]) -> list[str]:
    """The columns, which the queries select in the order of the row's fields."""
    return [field.name for field in fields(kind)]


_MODEL_COLUMNS: Final = _names(ModelRow)
_JSON_OF_A_MODEL: Final = frozenset({*_LISTS_OF_A_MODEL, "memory", "preparation"})
_KEY_USE_COLUMNS: Final = _names(KeyUseRow)
_ENGINE_COLUMNS: Final = _names(EngineRow)
_SCANNED_COLUMNS: Final = _names(ScannedFile)
_SCAN_COLUMNS: Final = _names(ScanRow)
_JOB_COLUMNS: Final = _names(JobRow)
_IMAGE_COLUMNS: Final = _names(ImageRow)
_KEY_COLUMNS: Final = _names(KeyRow)
_WEBHOOK_COLUMNS: Final = _names(WebhookRow)
_DELIVERY_COLUMNS: Final = _names(DeliveryRow)
_TOKEN_COLUMNS: Final = _names(WorkerTokenRow)


def _decoded(columns: list[str], row: SqlRow, json_columns: frozenset[str]) -> dict[str, object]:
    pairs = zip(columns, row, strict=True)
    return {k: msgspec.json.decode(v) if k in json_columns and isinstance(v, str) else v for k, v in pairs}


def model_row(row: SqlRow) -> ModelRow:
    """Raises: msgspec.ValidationError, if the database has a value that this version does not know."""
    values = _decoded(_MODEL_COLUMNS, row, _JSON_OF_A_MODEL)
    return msgspec.convert(values, analyzed(ModelRow))


def scanned_file(row: SqlRow) -> ScannedFile:
    return msgspec.convert(dict(zip(_SCANNED_COLUMNS, row, strict=True)), analyzed(ScannedFile))


def scan_row(row: SqlRow) -> ScanRow:
    return msgspec.convert(_decoded(_SCAN_COLUMNS, row, frozenset({"absent"})), analyzed(ScanRow))


def engine_row(row: SqlRow) -> EngineRow:
    values = _decoded(_ENGINE_COLUMNS, row, frozenset({"spec"}))
    return msgspec.convert(values, analyzed(EngineRow))


def key_row(row: SqlRow) -> KeyRow:
    return msgspec.convert(_decoded(_KEY_COLUMNS, row, frozenset({"limits"})), analyzed(KeyRow))


def key_use(row: SqlRow) -> KeyUseRow:
    return msgspec.convert(dict(zip(_KEY_USE_COLUMNS, row, strict=True)), analyzed(KeyUseRow))


def webhook_row(row: SqlRow) -> WebhookRow:
    return msgspec.convert(_decoded(_WEBHOOK_COLUMNS, row, frozenset({"events"})), analyzed(WebhookRow))


def preset_key(row: SqlRow) -> tuple[KeyId | None, str]:
    """To whom a preset belongs, and its name."""
    return msgspec.convert(row, analyzed(tuple[KeyId | None, str]))


def delivery_row(row: SqlRow) -> DeliveryRow:
    return msgspec.convert(dict(zip(_DELIVERY_COLUMNS, row, strict=True)), analyzed(DeliveryRow))


def worker_token_row(row: SqlRow) -> WorkerTokenRow:
    return msgspec.convert(dict(zip(_TOKEN_COLUMNS, row, strict=True)), analyzed(WorkerTokenRow))


def image_row(row: SqlRow) -> ImageRow:
    return msgspec.convert(dict(zip(_IMAGE_COLUMNS, row, strict=True)), analyzed(ImageRow))


def image_values(row: ImageRow) -> SqlRow:
    """The columns of a new image, in the order of the query add_image."""
    place = (row.image_id, row.job_id, row.engine_id, row.position, row.file_name, row.mime)
    size = (row.width_px, row.height_px, row.size_bytes, row.sha256, row.seed)
    life = (row.downloads, row.download_limit, row.created_at_ms, row.expires_at_ms)
    return (*place, *size, *life, row.checkpoint)


def blob_values(row: BlobRow) -> SqlRow:
    """The columns of a new blob, in the order of the query add_blob."""
    place = (row.blob_id, row.job_id, row.kind, row.file_name, row.mime)
    return (*place, row.size_bytes, row.sha256, row.created_at_ms, row.expires_at_ms)


def job_row(row: SqlRow) -> JobRow:
    values = _decoded(_JOB_COLUMNS, row, frozenset({"image_ids", "warnings", "models", "callback"}))
    values["names_checkpoint"] = bool(values["names_checkpoint"])
    return msgspec.convert(values, analyzed(JobRow))


def job_spec(text: str) -> JobSpec:
    return _job_spec.decode(text)
