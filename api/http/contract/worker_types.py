"""Workers and enrollment tokens in HTTP requests and responses; the command line prints the latter too."""

from datetime import datetime

import msgspec

from api.http.contract.constraints import Limit
from api.http.contract.responses import moment, moment_or_none
from api.http.contract.retention import Expiry, check_expiry, expiry_s
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.api_keys import key_state
from kernel.protocol.enums import KeyState, WorkerRole
from kernel.protocol.rows import WorkerTokenRow
from kernel.protocol.status import WorkerEnd, WorkerFigures
from kernel.protocol.values import Pool
from kernel.protocol.worker_tokens import CreateWorkerToken, MostWorkers


class WorkerTokenInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An enrollment token to be made."""

    pool: Pool
    expire_after: Expiry | None = None
    """How long it admits workers; not given: for good."""
    max_workers: MostWorkers | None = None
    """How many may have joined with it at a time; not given: any number."""


class TokenListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of the list."""

    limit: Limit = 50
    after: str | None = None


class WorkerToken(msgspec.Struct, frozen=True, kw_only=True):
    """An enrollment token. Its secret is shown once, when it is made."""

    token_id: str
    pool: str
    status: KeyState
    max_workers: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    """When a worker last joined with it."""


class NewWorkerToken(WorkerToken, frozen=True, kw_only=True):
    """An enrollment token that was just made."""

    token: str | None
    """The token itself, this once; null if the request was sent again: then revoke it and create another."""


class WorkerTokenPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of enrollment tokens, newest first; `next` is the cursor of the next page."""

    items: tuple[WorkerToken, ...]
    next: str | None


class WorkerListQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which workers to list."""

    pool: Pool | None = None


class WorkerEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker of a pool is told."""

    cordoned: bool | None = None
    """Whether it is given nothing more; what it has it keeps."""
    drain: bool = False
    """Let it finish its jobs and leave for good."""


class HostDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device of a worker's host, as the worker saw it when it joined."""

    device: str
    name: str
    total_bytes: int
    free_bytes: int
    capability: str | None
    """The compute capability of a GPU: `9.0`."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process."""

    worker_id: str
    role: WorkerRole
    state: str
    """`launched`, `idle`, `loading`, `ready`, `draining` or `terminating`."""
    pool: str | None
    """null: the server has started it, on its own host."""
    host: str | None
    pid: int | None
    version: str | None
    launch: str | None
    joined_at: datetime | None
    cordoned: bool
    devices: tuple[HostDevice, ...]
    """Of a host of a pool; those of the server's own host are in `/v1/devices`."""
    device: str | None
    """That its engine was given."""
    engine_id: str | None
    memory_bytes: int
    """That its engine took when it was loaded; 0 before."""
    job_ids: tuple[str, ...]
    latency_ms: float | None
    """From a sign of life of the worker to the server's answer; null: not measured yet."""


class EndedWorker(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's worker that has ended."""

    worker_id: str
    pool: str | None
    host: str | None
    pid: int | None
    engine_id: str | None
    ended_at: datetime
    last_words: str


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    """Workers in the order of their arrival, and the last ones that have ended, newest first."""

    items: tuple[Worker, ...]
    ended: tuple[EndedWorker, ...]


def check_token(found: WorkerTokenInput, faults: ValidationErrors) -> None:
    """Check an enrollment token to be made."""
    check_expiry("expire_after", found.expire_after, faults)


def create_token(found: WorkerTokenInput) -> CreateWorkerToken:
    """The command for a checked input."""
    life_s = expiry_s(found.expire_after)
    return CreateWorkerToken(pool=found.pool, expires_in_s=life_s, max_workers=found.max_workers)


def token_of(row: WorkerTokenRow, now_ms: int) -> WorkerToken:
    """A row as it is shown."""
    return WorkerToken(
        token_id=row.token_id,
        pool=row.pool,
        status=key_state(row.expires_at_ms, row.revoked_at_ms, now_ms),
        max_workers=row.max_workers,
        created_at=moment(row.created_at_ms),
        expires_at=moment_or_none(row.expires_at_ms),
        revoked_at=moment_or_none(row.revoked_at_ms),
        used_at=moment_or_none(row.used_at_ms),
    )


def worker_of(one: WorkerFigures) -> Worker:
    """A worker as it is shown."""
    return Worker(
        worker_id=one.worker_id,
        role=one.role,
        state=one.state,
        pool=one.pool,
        host=one.host,
        pid=one.pid,
        version=one.version,
        launch=one.launch,
        joined_at=moment_or_none(one.joined_at_ms),
        cordoned=one.is_cordoned,
        devices=tuple(
            HostDevice(
                device=device.device,
                name=device.name,
                total_bytes=device.total_bytes,
                free_bytes=device.free_bytes,
                capability=device.capability,
            )
            for device in one.devices
        ),
        device=one.device,
        engine_id=one.engine_id,
        memory_bytes=one.memory_bytes,
        job_ids=one.jobs,
        latency_ms=one.round_trip_ms,
    )


def ended_of(one: WorkerEnd) -> EndedWorker:
    """A worker that has ended, as it is shown."""
    return EndedWorker(
        worker_id=one.worker_id,
        pool=one.pool,
        host=one.host,
        pid=one.pid,
        engine_id=one.engine_id,
        ended_at=moment(one.ended_at_ms),
        last_words=one.text,
    )
