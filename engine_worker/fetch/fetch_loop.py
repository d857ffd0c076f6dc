"""A fetch worker's main thread: fetches the models that the session asks for, one after the other, looks
through folders while nothing else is to be done, and hands callbacks to the threads that send them."""

from collections.abc import Callable

from engine_worker.port import Fetching, Scanning, Sending
from engine_worker.session.actions import Deliver, Exit, Inspect, Scan
from engine_worker.session.events import FetchEvent, ScanStopped
from engine_worker.shell import Inbox
from kernel.protocol.errors import SpoonError
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.worker import (
    ModelFailed,
    ModelInspected,
    ModelProgress,
    ScanEnded,
    ScanFolders,
    ScanProgress,
)

Report = Callable[[FetchEvent], None]


class FetchLoop:
    """Fetches and inspects models, scans folders, and reports the results."""

    def __init__(
        self,
        inbox: Inbox,
        build: Callable[[], Fetching],
        build_scanner: Callable[[], Scanning],
        build_sender: Callable[[], Sending],
        report: Report,
    ) -> None:
        """`build` is called for the first model, because importing the download packages takes a while,
        `build_sender` for the first callback, and `build_scanner` for each scan."""
        self._inbox = inbox
        self._build = build
        self._build_scanner = build_scanner
        self._report = report
        self._build_sender = build_sender
        self._fetcher: Fetching | None = None
        self._sender: Sending | None = None

    def run(self) -> Exit:
        """Work until the session ends. Returns: how it ended."""
        while True:
            task = self._inbox.get()
            if isinstance(task, Exit):
                return task
            if isinstance(task, Inspect):
                self._fetch(task.source)
            elif isinstance(task, Scan):
                self._scan(task.order)
            elif isinstance(task, Deliver):
                self._sender = self._sender or self._build_sender()
                self._sender.send(task.order)

    def _scan(self, order: ScanFolders) -> None:
        """Anything else to do comes first, once the file that is being read was reported."""
        for report in self._build_scanner().scan(order):
            self._report(report)
            if isinstance(report, ScanProgress | ScanEnded):
                continue
            if not self._inbox.empty():
                self._report(ScanStopped())
                return

    def _fetch(self, source: ModelSource) -> None:
        def on_progress(done_bytes: int, total_bytes: int | None, bytes_per_s: int | None) -> None:
            self._report(
                ModelProgress(
                    model_id=source.model_id,
                    bytes=done_bytes,
                    total_bytes=total_bytes,
                    bytes_per_s=bytes_per_s,
                )
            )

        self._fetcher = self._fetcher or self._build()
        try:
            found = self._fetcher.fetch(source, on_progress)
        except SpoonError as error:
            self._report(ModelFailed(model_id=source.model_id, code=error.code, text=error.detail))
        else:
            self._report(
                ModelInspected(
                    model_id=source.model_id,
                    fingerprint=found.fingerprint,
                    stored=found.stored,
                    revision=found.revision,
                    title=found.title,
                )
            )
