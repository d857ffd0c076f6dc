"""Logs a session: orders, reports and its end; no heartbeats, no progress."""

import logging
import re
from typing import Final

from engine_worker.session.actions import Action, Exit, Send
from kernel.process.log import LogValue, line
from kernel.protocol.ids import JobId
from kernel.protocol.worker import (
    Accepted,
    CallbackEnded,
    CancelJob,
    ControlMap,
    EngineFailed,
    EngineProgress,
    EngineReady,
    FileScanned,
    GetModelFiles,
    GetModelPart,
    Goodbye,
    ImageReady,
    ImageStored,
    InspectModel,
    JobDone,
    JobDropped,
    JobFailed,
    LoadEngine,
    MapStored,
    ModelFailed,
    ModelFiles,
    ModelInspected,
    ModelPart,
    ModelPartRefused,
    ModelProgress,
    Ping,
    Pong,
    Preview,
    Progress,
    Refuse,
    RunJob,
    ScanBegun,
    ScanFolders,
    ScanProgress,
    SendCallback,
    Welcome,
    WorkerOrder,
    WorkerReport,
)

Message = WorkerOrder | WorkerReport
Frequent = (
    Ping
    | Pong
    | Progress
    | Preview
    | ModelProgress
    | EngineProgress
    | ScanProgress
    | FileScanned
    | GetModelPart
    | ModelPart
)

_log: Final = logging.getLogger(__name__)
_WORD_START: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def log_order(order: WorkerOrder) -> None:
    """Log an order of the Manager."""
    _log_message(order)


def log_action(action: Action) -> None:
    """Log a decision of the session. Tasks of the main thread show in their reports."""
    if isinstance(action, Send):
        _log_message(action.report)
    elif isinstance(action, Exit):
        _log.info(line("exit", code=int(action.exit_code), reason=action.reason))


def _log_message(message: Message) -> None:
    if isinstance(message, Frequent):
        return
    action = _WORD_START.sub("_", type(message).__name__).lower()
    _log.info(line(action, job_id=_job_of(message), **_details_of(message)))


def _job_of(message: Message) -> JobId | None:
    match message:
        case Accepted() | ImageReady() | ControlMap() | JobDone() | JobFailed() | JobDropped():
            return message.job_id
        case CancelJob() | ImageStored() | MapStored():
            return message.job_id
        case RunJob():
            return message.order.job_id
        case _:
            return None


def _details_of(message: Message) -> dict[str, LogValue]:
    match message:
        case JobFailed():
            return {"lease": message.lease, "code": message.code, "text": message.text}
        case ImageReady() | ImageStored():
            return {"lease": message.lease, "index": message.index}
        case ControlMap() | MapStored():
            return {"lease": message.lease, "control_type": message.control_type}
        case RunJob() | CancelJob() | Accepted() | JobDone() | JobDropped():
            return {"lease": message.lease}
        case ModelFailed():
            return {"model_id": message.model_id, "code": message.code, "text": message.text}
        case EngineFailed():
            return {"engine_id": message.engine_id, "code": message.code, "text": message.text}
        case EngineReady():
            return {"engine_id": message.engine_id, "device": message.device, "capacity": message.capacity}
        case _:
            return _details_of_the_rest(message)


def _details_of_the_rest(message: Message) -> dict[str, LogValue]:
    match message:
        case ModelInspected():
            return {"model_id": message.model_id, "sha256": message.fingerprint.sha256}
        case LoadEngine():
            return {"engine_id": message.load.engine_id, "uri": message.load.checkpoint.uri}
        case InspectModel():
            # A URL's query may contain a secret.
            return {"model_id": message.source.model_id, "uri": message.source.uri.partition("?")[0]}
        case ScanFolders():
            return {"folders": len(message.folders), "known": len(message.known)}
        case ScanBegun():
            return {
                "files": message.files,
                "unknown": message.unknown,
                "gone": len(message.gone),
                "absent": len(message.absent),
            }
        case SendCallback():  # its URL and its body are its receiver's alone
            return {"delivery_id": message.delivery_id, "attempt": message.attempt}
        case CallbackEnded():
            return {"delivery_id": message.delivery_id, "answered": message.answered}
        case GetModelFiles() | ModelFiles():
            return {"model_id": message.model_id, "sha256": message.sha256}
        case ModelPartRefused():
            return {"model_id": message.model_id, "code": message.code, "text": message.text}
        case Welcome():
            return {"epoch": message.epoch}
        case Refuse():
            return {"code": message.code, "text": message.text}
        case Goodbye():
            return {"reason": message.reason}
        case _:
            return {}
