"""What happens to engines, models and the Manager itself, told to its log after the answers have left."""

import logging
from typing import Final

from kernel.core import actions
from kernel.core.rows import ChangeRow
from kernel.protocol.vocabulary import ChangeKind, EngineState, Phase
from kernel.shell import journal

_TOLD: Final = frozenset({ChangeKind.ENGINE, ChangeKind.MODEL})
_FAILED: Final = EngineState.ERROR.value
_WAY_OUT: Final = "a second signal puts running jobs back into the queue and leaves at once"


class Chronicle:
    """Gathers the lines of a batch; no answer waits for the log."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lines: list[str] = []
        self._phase = Phase.RUNNING
        self._errors: dict[str, str] = {}

    def saved(self, save: actions.Save) -> None:
        """Something is in the batch's transaction: a change of an engine or a model is worth a line."""
        match save:
            case actions.SaveEngine(row) if row.error is not None:
                self._errors[row.engine_id] = row.error
            case actions.SaveModel(row) if row.error is not None:
                self._errors[row.model_id] = row.error
            case actions.RecordChange(row) if row.kind in _TOLD:
                self._lines.append(self._line(row))
            case _:
                pass

    def _line(self, row: ChangeRow) -> str:
        reason = {"reason": self._errors.get(row.id, "unknown")} if row.state == _FAILED else {}
        return journal.line("changed", kind=row.kind, id=row.id, state=row.state, **reason)

    def phase(self, phase: Phase, jobs_processing: int) -> None:
        """The Manager's phase after a batch: when it begins to leave, its owner wants to know what for."""
        if phase is not self._phase:
            self._phase = phase
            way_out = {"hint": _WAY_OUT} if phase is Phase.DRAINING and jobs_processing else {}
            self._lines.append(journal.line(phase, jobs_processing=jobs_processing, **way_out))

    def tell(self) -> None:
        """Write the batch's lines."""
        for line in self._lines:
            self._log.info(line)
        self._lines.clear()
        self._errors.clear()
