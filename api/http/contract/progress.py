"""Progress in bytes: of a model that is downloaded or inspected, and of an engine that is loaded."""

import msgspec
from msgspec.structs import asdict

from kernel.protocol.client import EngineProgress, ModelProgress


class DownloadProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes downloaded, inspected or loaded so far, and the speed."""

    bytes: int
    total_bytes: int | None
    bytes_per_s: int | None


class ModelProgressEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: model_progress`. Not numbered: only the latest counts."""

    model_id: str
    bytes: int
    total_bytes: int | None
    bytes_per_s: int | None


class EngineProgressEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: engine_progress`: an engine is being loaded. Not numbered: only the latest counts."""

    engine_id: str
    bytes: int
    total_bytes: int
    bytes_per_s: int | None


def bytes_progress_of(progress: ModelProgress | EngineProgress | None) -> DownloadProgress | None:
    """The progress as a response; None, if there is none."""
    if progress is None:
        return None
    return DownloadProgress(
        bytes=progress.bytes, total_bytes=progress.total_bytes, bytes_per_s=progress.bytes_per_s
    )


def bytes_event_of(progress: ModelProgress | EngineProgress) -> ModelProgressEvent | EngineProgressEvent:
    """The progress as an event; it has the same members as the message."""
    if isinstance(progress, ModelProgress):
        return ModelProgressEvent(**asdict(progress))
    return EngineProgressEvent(**asdict(progress))
