"""Starts slow work early, before it is needed: imports, and reading from the disk."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

from engine_worker.formats.allowed_paths import find_file
from kernel.protocol.errors import NotInstalled


class EngineImports:
    """Imports an engine's packages in a thread, while the process joins, or waits for its ticket."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="imports", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when everything is imported. Raises: any exception of an import."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            from engine_worker.engine.runtime.lean_imports import import_engine

            import_engine()
            _make_tokenizer()
        except Exception as error:  # noqa: BLE001 - it is raised in `wait`
            self._error = error


def _make_tokenizer() -> None:
    """The tokenizer of nearly every checkpoint. If it is missing, loading reports it."""
    from engine_worker.engine.networks.tokenizer import make_tokenizer
    from engine_worker.formats.checkpoint_layout import TokenizerPlan

    with suppress(NotInstalled):
        make_tokenizer(TokenizerPlan())


def read_ahead(paths: Iterable[Path], roots: Sequence[Path]) -> None:
    """Read models into the system's cache, in a thread, while packages are imported.

    Files that cannot be read, or lie outside the roots, are skipped here; loading reports them.
    """
    Thread(target=_read_ahead, args=(tuple(paths), roots), name="read-ahead", daemon=True).start()


def _read_ahead(paths: Iterable[Path], roots: Sequence[Path]) -> None:
    for path in paths:
        for file in sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]:
            found = find_file(file, roots)
            if found is not None:
                with suppress(OSError), found.open() as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
