"""The worker executable: `python -m engine_worker.main --join-fd N`.

The Manager, or the supervisor of a pool's worker, starts it with a pipe for the ticket; with `--preload` it
imports an engine's packages until the ticket comes. It joins, does the work of its role, and leaves.

    SIGTERM        finish the running jobs, then leave; a second one leaves at once
    SIGINT         ignored: the process that started it decides

    exit status    0   left properly: drained, told to leave, stopped by a signal, or never given a ticket
                   2   the command line or the ticket cannot be used, or a package is missing
                   3   refused by the Manager
                   4   the Manager never answered, fell silent, or died before the worker had started
                   5   drained, and not to be started again on this host
                   70  a defect; the last lines of stderr describe it
                   75  not admitted now: try again later

A worker is killed by the system (SIGKILL) when the process that started it dies. One of a pool outlives the
Manager: it enrolls again.
"""

import argparse
import logging
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NoReturn

from engine_worker import ticket
from engine_worker.engine_loop import BuildEngine, EngineLoop
from engine_worker.enrollment import enroll, missing
from engine_worker.fetch.fetch_loop import FetchLoop
from engine_worker.model_files.courier import Courier
from engine_worker.model_files.terms import FileTerms, terms_of
from engine_worker.port import Emit, Engine, Fetching, Scanning, Sending, Wake
from engine_worker.preload import EngineImports
from engine_worker.session.actions import Exit, ExitCode
from engine_worker.session.events import LoopBroke
from engine_worker.session.heartbeat import Patience
from engine_worker.session.machine import Session
from engine_worker.shell import Inbox, SocketThread, Surroundings
from kernel.process.log import line, start
from kernel.process.memory import keep_freed_memory
from kernel.process.signals import SignalPipe
from kernel.process.startup import die_with_parent, hide_memory, make_files_private
from kernel.protocol.enums import WorkerRole
from kernel.protocol.errors import BadConfiguration, NotInstalled
from kernel.protocol.join import (
    CACHE_BYTES_OPTION,
    CACHE_FOLDER_OPTION,
    JOIN_FD_OPTION,
    MAP_OPTION,
    PRELOAD_OPTION,
    Join,
)
from kernel.protocol.version import VERSION
from kernel.protocol.worker import CallbackEnded, Hello

OWN: Final = "engine_worker"
"""The parent of the loggers of all modules of a worker."""
FETCH_NICENESS: Final = 10
"""Downloads, digests and scans give way to engines."""

_log: Final = logging.getLogger(OWN)


def main(arguments: list[str] | None = None) -> int:
    """Run one worker from its ticket to its exit status."""
    make_files_private()
    options = _options(arguments)
    start(OWN, worker_id=None, job_id=None)
    if options.preload:
        keep_freed_memory()  # before another thread runs: threads share the heaps that exist then
    imports = EngineImports() if options.preload else None
    descriptor: int = options.join_fd
    try:
        join = ticket.from_descriptor(descriptor)
        terms = terms_of(options.cache_folder, options.cache_bytes, options.map)
    except BadConfiguration as error:
        _log.error(line("bad_ticket", text=error.detail))
        return ExitCode.BAD_TICKET
    if join is None:
        return ExitCode.LEFT
    if join.role is WorkerRole.FETCH:
        hide_memory()  # it has download tokens; an engine's process stays open to profilers
    start(OWN, worker_id=join.worker_id, job_id=None)
    # SIGKILL, because nobody is left to take results, and a hung engine must end as well.
    if join.manager_pid is not None and not die_with_parent(join.manager_pid, signal.SIGKILL):
        _log.error(line("manager_gone"))
        return ExitCode.MANAGER_GONE
    try:
        return _work(join, terms, imports).exit_code
    except NotInstalled as error:
        _log.error(line("not_installed", text=error.detail))
        return ExitCode.BAD_TICKET


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="engine_worker", description="A worker of automatic-spoon.")
    parser.add_argument(
        JOIN_FD_OPTION, type=int, metavar="N", required=True, help="inherited pipe that carries the ticket"
    )
    parser.add_argument(
        PRELOAD_OPTION, action="store_true", help="import an engine's packages while waiting for the ticket"
    )
    parser.add_argument(
        CACHE_FOLDER_OPTION, type=Path, metavar="PATH", help="folder for models that this host lacks"
    )
    parser.add_argument(CACHE_BYTES_OPTION, type=int, metavar="N", help="the most that it may hold")
    parser.add_argument(
        MAP_OPTION, action="append", default=[], metavar="THERE=HERE", help="a shared folder: there, and here"
    )
    return parser.parse_args(arguments)


def _work(join: Join, terms: FileTerms, imports: EngineImports | None) -> Exit:
    """Build everything, start the socket's thread, and be the main thread.

    Raises: NotInstalled, if a worker of a pool lacks what it needs to know its devices.
    """
    inbox: Inbox = SimpleQueue()
    session = Session(enroll(join, imports) if join.enrolls else _hello(join), _patience())
    courier = Courier(lambda request: thread.report(request))
    thread = SocketThread(join, session, inbox, Surroundings(_signals(join)), courier.take)
    loop: EngineLoop | FetchLoop
    if join.role is WorkerRole.FETCH:
        loop = _fetch_loop(join, inbox, thread)
    else:
        keep_freed_memory()
        loop = _engine_loop(join, inbox, thread, imports, (terms, courier))
    _log.info(line("started", role=join.role, endpoint=join.endpoint, pid=os.getpid(), version=VERSION))
    thread.start()
    if join.role is WorkerRole.FETCH:
        os.nice(FETCH_NICENESS)  # of this thread alone: the socket's, which runs already, keeps the heartbeat
    try:
        return loop.run()
    except Exception:  # noqa: BLE001 - the outermost loop of the main thread
        _log.error(line("main_thread_broke", error=traceback.format_exc()))
        thread.report(LoopBroke())
        return _last_of(inbox)


def _fetch_loop(join: Join, inbox: Inbox, thread: SocketThread) -> FetchLoop:
    roots = tuple(Path(root) for root in join.file_roots)
    return FetchLoop(
        inbox,
        lambda: _build_fetcher(join),
        lambda: _build_scanner(join, roots),
        lambda: _build_sender(join, thread.report),
        thread.report,
    )


def _engine_loop(
    join: Join,
    inbox: Inbox,
    thread: SocketThread,
    imports: EngineImports | None,
    files: tuple[FileTerms, Courier],
) -> EngineLoop:
    """The loop of an engine. A worker of the Manager's own host reads what the Manager reads."""
    terms, courier = files
    ticket_roots = tuple(Path(root) for root in join.file_roots)
    roots = terms.folders(ticket_roots)
    models = terms.models(ticket_roots, courier) if join.enrolls else None
    if join.is_fake:
        return EngineLoop(inbox, _build_fake, thread.report, models=models)
    return EngineLoop(inbox, _real_builder(join, roots, imports), thread.report, roots, models=models)


def _signals(join: Join) -> SignalPipe:
    """A local worker ignores SIGINT: Ctrl-C in a terminal reaches the Manager too, which decides."""
    if join.manager_pid is not None:
        return SignalPipe([signal.SIGTERM], ignored=[signal.SIGINT])
    return SignalPipe([signal.SIGTERM, signal.SIGINT])


def _hello(join: Join) -> Hello:
    return Hello(
        role=join.role,
        worker_id=join.worker_id,
        token=join.token,
        version=VERSION,
        pid=os.getpid(),
        host=socket.gethostname(),
    )


def _patience() -> Patience:
    return Patience(spread=random.random())


# An engine's module is imported in the background, or when it is to be loaded: torch takes seconds, which the
# Manager's first answer need not wait for. The same holds for the download packages.


def _build_fetcher(join: Join) -> Fetching:
    from engine_worker.fetch.fetcher import build_fetcher

    return build_fetcher(join)


def _build_scanner(join: Join, roots: Sequence[Path]) -> Scanning:
    from engine_worker.fetch.scanning.scanner import Scanner

    return Scanner(roots, None if join.fetch is None else Path(join.fetch.folder))


def _build_sender(join: Join, report: Callable[[CallbackEnded], None]) -> Sending:
    from engine_worker.fetch.callbacks.sender import build_sender

    return build_sender(() if join.fetch is None else join.fetch.callback_hosts, report)


def _build_fake(emit: Emit, wake: Wake) -> Engine:
    from engine_worker.engine.fake.engine import FakeEngine

    return FakeEngine(emit)


def _real_builder(join: Join, roots: Sequence[Path], imports: EngineImports | None) -> BuildEngine:
    detectors_folder = None if join.detectors_folder is None else Path(join.detectors_folder)

    def build_real(emit: Emit, wake: Wake) -> Engine:
        try:
            (imports or EngineImports()).wait()
            from engine_worker.engine.diffusers_engine import build
        except ModuleNotFoundError as error:
            raise missing(error) from error
        return build(emit, wake, detectors_folder, roots)

    return build_real


def _last_of(inbox: Inbox) -> Exit:
    while True:
        task = inbox.get()
        if isinstance(task, Exit):
            return task


def _leave(status: int) -> NoReturn:
    """End the process at once. The interpreter would spend seconds on freeing torch's objects, while the next
    engine waits for the memory."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _leave(main())
