"""/v1/system, /v1/system/doctor and the logs of engines: for those who run the server."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Final

import falcon
import msgspec
from msgspec import Meta

from api.http.contract.request_parsing import QueryReader
from api.http.contract.responses import StoredError, moment, send
from api.http.contract.system_types import System, folders_of, manager_of, storage_of, versions_of
from api.http.framework.series import Series
from api.http.resources.workers import Workers
from api.installation.diagnosis import CheckResult, Verdict
from api.port import BusPort
from conf.settings import Settings
from conf.units import rounded_size
from kernel.process.worker_logs import WorkerLog, logs_of
from kernel.protocol.errors import EngineNotFound, SpoonError
from kernel.protocol.ids import EngineId, WorkerId
from kernel.views.counts import schema_number, stored_files
from kernel.views.engines import find_engine
from kernel.views.reader import Reader

STATUS_S: Final = 0.9
"""How long the Manager may take to tell its status."""
EXAMINED_S: Final = 2.0
"""How long an answer waits for the doctor, and for disks; they are examined on after it."""
MOST_WORKERS: Final = 4
"""Of an engine: those whose logs are shown."""


class LogQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of the last lines."""

    lines: Annotated[int, Meta(ge=1, le=1_000)] = 100


class LogOfWorker(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the log of one worker process."""

    worker_id: WorkerId
    changed_at: datetime
    size_bytes: int
    lines: tuple[str, ...]
    is_cut: bool
    """There are earlier lines."""


class EngineLog(msgspec.Struct, frozen=True, kw_only=True):
    """The logs of an engine's last workers on this machine, newest first, also of those that have ended."""

    items: tuple[LogOfWorker, ...]


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What `spoon doctor` finds, as far as the running server can find it itself."""

    is_complete: bool
    """False: some checks take longer; ask again."""
    items: tuple[CheckResult, ...]


class Administration:
    """The server itself, its workers, and their logs."""

    def __init__(self, settings: Settings, bus: BusPort, reader: Reader, now_ms: Callable[[], int]) -> None:
        self.workers = Workers(bus, reader, now_ms)
        self._settings = settings
        self._bus = bus
        self._reader = reader
        self._examination = Series("doctor", self._checks, _gave_up)
        self._folders = Series("storage", lambda: folders_of(settings, stored_files(reader)))
        self._log_query = QueryReader(LogQuery)

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200, also while the Manager does not answer."""
        manager, error = None, None
        try:
            manager = manager_of(self._bus.status(STATUS_S))
        except SpoonError as refusal:
            error = StoredError(code=refusal.code, detail=refusal.detail)
        system = System(
            manager=manager,
            error=error,
            versions=versions_of(schema_number(self._reader)),
            storage=storage_of(self._settings, dict(self._folders.look(EXAMINED_S)[0])),
        )
        send(resp, 200, system)

    def examine(self, req: falcon.Request, resp: falcon.Response) -> None:
        items, is_complete = self._examination.look(EXAMINED_S)
        send(resp, 200, Diagnosis(is_complete=is_complete, items=items))

    def log(self, req: falcon.Request, resp: falcon.Response, engine_id: str) -> None:
        query, row = self._log_query.read(req), find_engine(self._reader, engine_id)
        if row is None:
            raise EngineNotFound(f"no engine has the id or name {engine_id!r}")
        found = logs_of(self._settings.logs_folder, EngineId(row.engine_id), query.lines, MOST_WORKERS)
        send(resp, 200, EngineLog(items=tuple(map(_shown, found))))

    def _checks(self) -> Iterator[CheckResult]:
        """Those that start no process; what only they need is imported here."""
        from api.installation.features import features
        from api.installation.machine import storage
        from api.installation.own_files import own_files
        from api.installation.software import software

        yield from self._running()
        yield from storage(self._settings)
        are_workers_local = self._settings.bus.workers_endpoint is None
        yield own_files()
        yield from software(are_workers_local)
        if are_workers_local:
            yield from features(self._settings.detectors_folder)

    def _running(self) -> Iterator[CheckResult]:
        try:
            status = self._bus.status(STATUS_S)
        except SpoonError as error:
            yield CheckResult(subject="Manager", verdict=Verdict.NOTE, found=error.detail)
            return
        found = f"{status.phase}, version {status.version}, pid {status.pid}"
        yield CheckResult(subject="Manager", verdict=Verdict.OK, found=found)
        for one in status.devices:
            room = f"{one.name}, {rounded_size(one.free_bytes)} of {rounded_size(one.total_bytes)} free"
            yield CheckResult(subject=f"device {one.device}", verdict=Verdict.OK, found=room)


def _gave_up(error: Exception) -> CheckResult:
    return CheckResult(subject="doctor", verdict=Verdict.NOTE, found=f"gave up: {error}")


def _shown(log: WorkerLog) -> LogOfWorker:
    return LogOfWorker(
        worker_id=log.worker_id,
        changed_at=moment(log.changed_at_ms),
        size_bytes=log.size_bytes,
        lines=log.lines,
        is_cut=log.is_cut,
    )
