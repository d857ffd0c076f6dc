"""The one tree of errors: each has a stable code that crosses every border, and says the way out."""

from typing import ClassVar, TypeVar

import msgspec

from kernel.protocol.memory import MemoryShortage


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a request that is wrong, by its JSON path, and what is wrong with it."""

    field: str
    problem: str


class SpoonError(Exception):
    """Something went wrong in automatic-spoon."""

    code: ClassVar[str] = "error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        fields: tuple[FieldProblem, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        self.detail = detail if detail is not None else _default_message(type(self))
        self.fields = fields
        self.retry_after_s = retry_after_s
        super().__init__(self.detail)


Kind = TypeVar("Kind", bound=SpoonError)


def _default_message(kind: type[SpoonError]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def wrong_field(field: str, problem: str) -> "InvalidField":
    """The common case of InvalidField: one field, one problem."""
    return of_field(InvalidField, field, problem)


def of_field(kind: type[Kind], field: str, problem: str) -> Kind:
    """An error of that kind that one field has caused, also one that is right in itself."""
    return kind(f"{field}: {problem}", fields=(FieldProblem(field=field, problem=problem),))


# What a request can get wrong.


class InvalidField(SpoonError):
    """A field of the request has a wrong value."""

    code = "invalid_field"


class NotSupported(SpoonError):
    """This field is known, but this version cannot serve it yet."""

    code = "not_supported"


class NotFound(SpoonError):
    """There is nothing under that id."""

    code = "not_found"


class ModelNotFound(NotFound):
    """There is no model with that id."""

    code = "model_not_found"


class EngineNotFound(NotFound):
    """There is no engine with that id or name."""

    code = "engine_not_found"


class JobNotFound(NotFound):
    """There is no job with that id."""

    code = "job_not_found"


class ImageNotFound(NotFound):
    """There is no image with that id."""

    code = "image_not_found"


class ImageGone(SpoonError):
    """The image existed, but its file has been deleted."""

    code = "image_gone"


class Conflict(SpoonError):
    """The request does not fit the present state."""

    code = "conflict"


class IllegalMove(Conflict):
    """That move is not possible from the present state."""

    code = "illegal_move"


class ModelInUse(Conflict):
    """The model is used by engines or open jobs: delete these engines, and wait for these jobs, first."""

    code = "model_in_use"


class EngineRunning(Conflict):
    """The engine is running: stop it first."""

    code = "engine_running"


class NameTaken(Conflict):
    """Another one already has that name: choose another name."""

    code = "name_taken"


class JobUnfinished(Conflict):
    """The job is still open: cancel it first."""

    code = "job_unfinished"


class ModelNotReady(Conflict):
    """The model is not ready: wait for its download, or retry it."""

    code = "model_not_ready"


class ModelMissing(Conflict):
    """There is no model with that id or name: register it first, or name another one."""

    code = "model_missing"


class WrongModelType(Conflict):
    """That model is of another type than the field takes: name one of that type."""

    code = "wrong_model_type"


class WrongModelBase(Conflict):
    """That model is for another base than the engine's checkpoint: name one for the same base."""

    code = "wrong_model_base"


class ImageBusy(Conflict):
    """Every download of the image that is still allowed is under way: try again later."""

    code = "image_busy"


class KeyReused(Conflict):
    """That idempotency key was used for another request: use a new key."""

    code = "idempotency_key_reused"


class NotEnoughMemory(Conflict):
    """There is not enough memory for this engine now."""

    code = "not_enough_memory"
    shortage: MemoryShortage | None = None
    """The numbers, where memory is what is missing."""


# What the server cannot do just now.


class Unavailable(SpoonError):
    """The server cannot take this now: try again later."""

    code = "unavailable"


class ShuttingDown(Unavailable):
    """The server is shutting down."""

    code = "shutting_down"


class ManagerUnreachable(Unavailable):
    """The Manager does not answer on the bus."""

    code = "manager_unreachable"


class QueueFull(Unavailable):
    """The queue holds as many waiting jobs as the configuration allows."""

    code = "queue_full"


class TooManyRequests(Unavailable):
    """This session has too many unanswered commands: wait for some answers."""

    code = "too_many_requests"


class DiskFull(Unavailable):
    """The disk is almost full: new work is refused until there is room again."""

    code = "disk_full"


# What a worker reports.


class EngineFailed(SpoonError):
    """The engine could not be started."""

    code = "engine_failed"


class WorkerCrashed(SpoonError):
    """The worker process died: the one that held the job, or those of an engine, one after another."""

    code = "worker_crashed"


class OutOfMemory(SpoonError):
    """The device ran out of memory."""

    code = "out_of_memory"


class DeviceUnavailable(SpoonError):
    """The device that the engine shall run on is not there, or does not work, just now."""

    code = "device_unavailable"


class ModelUnreadable(SpoonError):
    """The model's files cannot be read as what they are said to be."""

    code = "model_unreadable"


class ModelLost(ModelUnreadable):
    """The model's files are not where they were: put them back, or retry."""

    code = "model_lost"


class DownloadFailed(SpoonError):
    """The model could not be downloaded: see the reason, then retry."""

    code = "download_failed"


class JobBroke(SpoonError):
    """The engine broke at this job in a way that nobody foresaw; the worker's log has the details."""

    code = "job_broke"


class InputsLost(SpoonError):
    """A picture that came with the job cannot be read any more."""

    code = "inputs_lost"


class NotInstalled(SpoonError):
    """Something that this job needs is not installed where its engine runs."""

    code = "not_installed"


class JobRejected(SpoonError):
    """The engine cannot make what the job asks for."""

    code = "job_rejected"


# What goes wrong on the bus itself.


class BadMessage(SpoonError):
    """The frames are not a message of this protocol."""

    code = "bad_message"


class WrongVersion(BadMessage):
    """The peer speaks another major version of the protocol."""

    code = "wrong_version"


class NotPermitted(SpoonError):
    """This peer's role may not send that message."""

    code = "not_permitted"


class InternalError(SpoonError):
    """The Manager came upon what nobody foresaw, and changed nothing."""

    code = "internal_error"


# What goes wrong around a process.


class AlreadyRunning(SpoonError):
    """Another Manager holds the data folder."""

    code = "already_running"


class BadConfiguration(SpoonError):
    """The configuration cannot be used."""

    code = "bad_configuration"


class DatabaseUnusable(SpoonError):
    """The database cannot be used."""

    code = "database_unusable"


def all_errors(*further_modules: str) -> dict[str, type[SpoonError]]:
    """Every error by its code, for the borders that translate and the docs that list them.

    Only errors of this module cross the bus. A border adds the names of the modules with its own ones.
    """
    modules = {__name__, *further_modules}
    found: dict[str, type[SpoonError]] = {}
    pending: list[type[SpoonError]] = [SpoonError]
    while pending:
        kind = pending.pop()
        found[kind.code] = kind
        pending.extend(child for child in kind.__subclasses__() if child.__module__ in modules)
    return found


def error_of_code(
    code: str,
    detail: str,
    fields: tuple[FieldProblem, ...] = (),
    retry_after_s: float | None = None,
) -> SpoonError:
    """The error that a refusal on the bus stands for; an unknown code becomes a plain SpoonError."""
    kind = all_errors().get(code, SpoonError)
    return kind(detail, fields=fields, retry_after_s=retry_after_s)
