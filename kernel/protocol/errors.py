"""All errors: each has a stable code that crosses every process boundary, and a message with the remedy.

The first line of a class's docstring is its title in problem documents, and its default detail.
"""

from pathlib import Path
from typing import ClassVar, TypeVar

import msgspec

from kernel.protocol.memory import MemoryShortage


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """An invalid field of a request, by its JSON path, and the problem with it."""

    field: str
    problem: str


class SpoonError(Exception):
    """Internal server error."""

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


def unusable_folder(folder: Path, error: OSError) -> "BadConfiguration":
    """The error of a folder of the server that cannot be created, read or written."""
    way_out = "let this user write there, or choose another folder (`spoon config check` lists them)"
    return BadConfiguration(f"{folder} cannot be used: {error.strerror}; {way_out}")


def title_of(kind: type[SpoonError]) -> str:
    """The short name of an error for a person, without the full stop."""
    return (kind.__doc__ or "").strip().splitlines()[0].removesuffix(".")


def _default_message(kind: type[SpoonError]) -> str:
    """The title as a detail: a clause that begins in lower case, unless it begins with a proper name."""
    title = title_of(kind)
    is_word = title[:1].isupper() and not title.partition(" ")[0][1:].isupper()
    return title[:1].lower() + title[1:] if is_word else title


def wrong_field(field: str, problem: str) -> "InvalidField":
    """The common case of InvalidField: one field, one problem."""
    return of_field(InvalidField, field, problem)


def of_field(kind: type[Kind], field: str, problem: str) -> Kind:
    """An error of that kind that one field has caused, also one that is right in itself."""
    return kind(f"{field}: {problem}", fields=(FieldProblem(field=field, problem=problem),))


# Errors in a request.


class InvalidField(SpoonError):
    """Invalid field."""

    code = "invalid_field"


class EmptyMask(InvalidField):
    """The mask marks nothing to change."""

    code = "empty_mask"


class NotSupported(SpoonError):
    """Not supported by this version yet."""

    code = "not_supported"


class NotFound(SpoonError):
    """Not found."""

    code = "not_found"


class ModelNotFound(NotFound):
    """Model not found."""

    code = "model_not_found"


class EngineNotFound(NotFound):
    """Engine not found."""

    code = "engine_not_found"


class JobNotFound(NotFound):
    """Job not found."""

    code = "job_not_found"


class ImageNotFound(NotFound):
    """Image not found."""

    code = "image_not_found"


class WorkerNotFound(NotFound):
    """No such worker."""

    code = "worker_not_found"


class TokenNotFound(NotFound):
    """No such enrollment token."""

    code = "token_not_found"


class KeyNotFound(NotFound):
    """No such API key."""

    code = "key_not_found"


class WebhookNotFound(NotFound):
    """No such webhook."""

    code = "webhook_not_found"


class DeliveryNotFound(NotFound):
    """No such delivery: old ones are forgotten."""

    code = "delivery_not_found"


class PresetNotFound(NotFound):
    """No such preset."""

    code = "preset_not_found"


class ImageGone(SpoonError):
    """The image file has been deleted."""

    code = "image_gone"


class Conflict(SpoonError):
    """The request conflicts with the current state."""

    code = "conflict"


class IllegalMove(Conflict):
    """Not possible in the current state."""

    code = "illegal_move"


class ModelInUse(Conflict):
    """The model is in use: delete its engines and wait for its jobs first."""

    code = "model_in_use"


class EngineRunning(Conflict):
    """The engine is running: stop it first."""

    code = "engine_running"


class NameTaken(Conflict):
    """The name is already taken: choose another one."""

    code = "name_taken"


class NameAmbiguous(Conflict):
    """Several models have this name: use an id."""

    code = "name_ambiguous"


class JobUnfinished(Conflict):
    """The job has not ended: cancel it first."""

    code = "job_unfinished"


class ModelNotReady(Conflict):
    """The model is not ready: wait for its download, or retry it after an error."""

    code = "model_not_ready"


class NoModelFolders(Conflict):
    """There is nothing to scan: list your folders in models.folders, then restart the server."""

    code = "no_model_folders"


class ModelMissing(Conflict):
    """The request names an unknown model: register it first, or name another one."""

    code = "model_missing"


class WrongModelType(Conflict):
    """The model has the wrong type for this field."""

    code = "wrong_model_type"


class WrongModelBase(Conflict):
    """The model does not fit the base of the engine's checkpoint."""

    code = "wrong_model_base"


class ImageBusy(Conflict):
    """All remaining downloads of the image are in progress: try again later."""

    code = "image_busy"


class KeyReused(Conflict):
    """The idempotency key was already used for a different request: use a new key."""

    code = "idempotency_key_reused"


class TooManyWebhooks(Conflict):
    """There are too many webhooks: delete one first."""

    code = "too_many_webhooks"


class TooManyPresets(Conflict):
    """There are too many presets: delete one first."""

    code = "too_many_presets"


class NotEnoughMemory(Conflict):
    """Not enough memory for the engine."""

    code = "not_enough_memory"
    shortage: MemoryShortage | None = None
    """The numbers, if the amount of memory is the reason."""


# API keys.


class KeyMissing(SpoonError):
    """An API key is required: send it as a bearer token, or as the password of HTTP Basic."""

    code = "key_missing"


class KeyUnknown(SpoonError):
    """The API key is unknown, or its secret is not the present one."""

    code = "key_unknown"


class KeyExpired(SpoonError):
    """The API key has expired: ask for a new one."""

    code = "key_expired"


class KeyRevoked(SpoonError):
    """The API key was revoked: ask for a new one."""

    code = "key_revoked"


class KeyNotAllowed(SpoonError):
    """The role of the API key does not allow this."""

    code = "key_not_allowed"


# Conditions that pass.


class Unavailable(SpoonError):
    """Temporarily unavailable: try again later."""

    code = "unavailable"


class ShuttingDown(Unavailable):
    """The server is shutting down."""

    code = "shutting_down"


class ManagerUnreachable(Unavailable):
    """The Manager does not respond."""

    code = "manager_unreachable"


class QueueFull(Unavailable):
    """The job queue is full: try again later."""

    code = "queue_full"


class TooManyRequests(Unavailable):
    """Too many requests at once: try again later."""

    code = "too_many_requests"


class KeyLimitReached(Unavailable):
    """A limit of the API key is reached: try again later."""

    code = "key_limit_reached"


class TooManyWaiting(KeyLimitReached):
    """As many jobs of the API key wait as may wait (its limit max_waiting_jobs): try again later."""

    code = "key_max_waiting_jobs"


class TooManyImages(KeyLimitReached):
    """The API key has had its images of 24 hours (its limit max_images_a_day): try again later."""

    code = "key_max_images_a_day"


class TooManyPixels(KeyLimitReached):
    """The API key has had its pixels of 24 hours (its limit max_pixels_a_day): try again later."""

    code = "key_max_pixels_a_day"


class TooFast(KeyLimitReached):
    """The API key sends too many requests (its limit max_requests_a_minute): try again later."""

    code = "key_max_requests_a_minute"


class DiskFull(Unavailable):
    """The disk is almost full: free some space before you submit new work."""

    code = "disk_full"


# Errors that a worker reports.


class EngineFailed(SpoonError):
    """The engine could not start."""

    code = "engine_failed"


class WorkerCrashed(SpoonError):
    """A worker process crashed."""

    code = "worker_crashed"


class OutOfMemory(SpoonError):
    """The device ran out of memory."""

    code = "out_of_memory"


class DeviceUnavailable(SpoonError):
    """The engine's device is missing or does not work."""

    code = "device_unavailable"


class ModelUnreadable(SpoonError):
    """The model files cannot be used."""

    code = "model_unreadable"


class ModelLost(ModelUnreadable):
    """The model files are missing: put them back, or retry the model."""

    code = "model_lost"


class ModelDuplicate(ModelUnreadable):
    """The file is a copy of one that is registered."""

    code = "model_duplicate"


class ModelDeleted(ModelUnreadable):
    """A person deleted the model of this file, which is not registered again by itself."""

    code = "model_deleted"


class DownloadFailed(SpoonError):
    """The model could not be downloaded."""

    code = "download_failed"


class JobBroke(SpoonError):
    """Unexpected engine error; see the worker log."""

    code = "job_broke"


class InputsLost(SpoonError):
    """An input image of the job can no longer be read."""

    code = "inputs_lost"


class NotInstalled(SpoonError):
    """The engine's host lacks a package or file that the job needs."""

    code = "not_installed"


class JobRejected(SpoonError):
    """The engine cannot run the job as requested."""

    code = "job_rejected"


# Errors of the bus itself.


class BadMessage(SpoonError):
    """Invalid message on the bus."""

    code = "bad_message"


class WrongVersion(BadMessage):
    """Incompatible version of the bus protocol."""

    code = "wrong_version"


class NotPermitted(SpoonError):
    """The sender's role does not permit this message."""

    code = "not_permitted"


class InternalError(SpoonError):
    """Unexpected error in the Manager; nothing was changed."""

    code = "internal_error"


# Errors of a process.


class AlreadyRunning(SpoonError):
    """Another Manager is using the data folder."""

    code = "already_running"


class BadConfiguration(SpoonError):
    """Invalid configuration."""

    code = "bad_configuration"


class DatabaseUnusable(SpoonError):
    """The database cannot be used."""

    code = "database_unusable"
