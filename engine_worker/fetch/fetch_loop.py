"""A fetch worker's main thread: inspect the models that the session asks about, one after the other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from engine_worker.fetch.inspection import inspect
from engine_worker.session.actions import Exit, Inspect
from engine_worker.session.events import FetchEvent
from engine_worker.shell import Inbox
from kernel.protocol.errors import SpoonError
from kernel.protocol.ingredients import ModelSource
from kernel.protocol.worker import ModelFailed, ModelInspected, ModelProgress

Report = Callable[[FetchEvent], None]


class FetchLoop:
    """Reads model files, and tells what they are."""

    def __init__(self, inbox: Inbox, roots: Sequence[Path], report: Report) -> None:
        self._inbox = inbox
        self._roots = roots
        self._report = report

    def run(self) -> Exit:
        """Work until the session ends; returns how."""
        while True:
            task = self._inbox.get()
            if isinstance(task, Exit):
                return task
            if isinstance(task, Inspect):
                self._inspect(task.source)

    def _inspect(self, source: ModelSource) -> None:
        def moved(done_bytes: int, total_bytes: int) -> None:
            self._report(ModelProgress(model_id=source.model_id, bytes=done_bytes, total_bytes=total_bytes))

        try:
            fingerprint = inspect(source, self._roots, moved)
        except SpoonError as error:
            self._report(ModelFailed(model_id=source.model_id, code=error.code, text=error.detail))
        else:
            self._report(ModelInspected(model_id=source.model_id, fingerprint=fingerprint))
