"""Logs changes of engines, models and the Manager itself, after the replies have been sent."""

import logging
import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from kernel.core import actions
from kernel.core.events import Asked
from kernel.process.log import line
from kernel.protocol.api_keys import KeyIssued
from kernel.protocol.client import Refused
from kernel.protocol.enums import ChangeKind, EngineState, JobState, Phase
from kernel.protocol.ids import JobId, WorkerId
from kernel.protocol.rows import ChangeRow, JobRow
from kernel.protocol.worker_tokens import WorkerTokenIssued

_TOLD: Final = frozenset({ChangeKind.ENGINE, ChangeKind.MODEL})
_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WRONG: Final = MappingProxyType({JobState.FAILED: "job_failed", JobState.WAITING: "job_given_back"})
_FAILED: Final = EngineState.ERROR.value
_IDS: Final = ("worker_id", "job_id", "engine_id", "model_id", "image_id", "lease", "code")
_INSIDE: Final = ("report", "ask", "message", "row", "reply")
_TARGETS: Final = (
    "engine_id",
    "key_id",
    "model_id",
    "job_id",
    "image_id",
    "webhook_id",
    "worker_id",
    "token_id",
)
_WAY_OUT: Final = "send a second signal to return running jobs to the queue and exit at once"


class EventLog:
    """Collects the log lines of a batch, so that no reply waits for the log."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lines: list[str] = []
        self._phase = Phase.RUNNING
        self._errors: dict[str, str] = {}
        self._holders: dict[JobId, WorkerId] = {}

    def saved(self, save: actions.Save) -> None:
        """Add a line for a saved change of an engine or a model."""
        match save:
            case actions.SaveJob(row):
                self._job(row)
            case actions.SaveEngine(row) if row.error is not None:
                self._errors[row.engine_id] = row.error
            case actions.SaveModel(row) if row.error is not None:
                self._errors[row.model_id] = row.error
            case actions.RecordChange(row) if row.kind in _TOLD:
                self._lines.append(self._line(row))
            case _:
                pass

    def gave(self, effect: actions.Effect) -> None:
        """Remember the worker that a job goes to, for a line if the job comes back or fails."""
        if isinstance(effect, actions.GiveJob):
            self._holders[effect.job_id] = effect.worker_id

    def acted(self, event: Asked, effects: Iterable[actions.Effect]) -> None:
        """Add the audit line of what an admin has done over the bus, in the form of those for HTTP
        (`api.audit`). A refusal and a repeated command have done nothing."""
        done = next((one for one in effects if _answers(one, event)), None)
        if done is not None and event.facts.stored_reply is None:
            operation = _CAPITAL.sub("_", type(event.ask).__name__).lower()
            target = _target(event, done)
            path = "bus" if target is None else f"bus/{target}"
            self._lines.append(line("admin_act", operation=operation, path=path, address="local", key_id=""))

    def _job(self, row: JobRow) -> None:
        """Add a line for a job that crashed or failed; other jobs are too many to log. Never logs their
        content."""
        if row.status is JobState.PROCESSING:
            return
        holder = self._holders.pop(row.job_id, None)
        action = _WRONG.get(row.status)
        if action is not None:
            worker = {} if holder is None else {"worker_id": holder}
            code = {} if row.error_code is None else {"code": row.error_code}
            self._lines.append(line(action, job_id=row.job_id, **worker, **code))

    def _line(self, row: ChangeRow) -> str:
        reason = {"reason": self._errors.get(row.id, "unknown")} if row.state == _FAILED else {}
        return line("changed", kind=row.kind, id=row.id, state=row.state, **reason)

    def phase(self, phase: Phase, jobs_processing: int) -> None:
        """Add a line when the Manager's phase changes after a batch, with what it waits for."""
        if phase is not self._phase:
            self._phase = phase
            way_out = {"hint": _WAY_OUT} if phase is Phase.DRAINING and jobs_processing else {}
            self._lines.append(line(phase, jobs_processing=jobs_processing, **way_out))

    def tell(self) -> None:
        """Write the batch's lines."""
        for text in self._lines:
            self._log.info(text)
        self._lines.clear()
        self._errors.clear()


def _answers(effect: actions.Effect, event: Asked) -> bool:
    """True if the effect lets the client know that its command was done."""
    match effect:
        case actions.Reply(peer, correlation, reply):
            return (peer, correlation) == (event.peer, event.correlation) and not isinstance(reply, Refused)
        case _:
            return False


def _target(event: Asked, done: actions.Effect) -> str | None:
    """The id of what was changed or made."""
    if isinstance(done, actions.Reply) and isinstance(done.message, KeyIssued):
        return done.message.key_id
    if isinstance(done, actions.Reply) and isinstance(done.message, WorkerTokenIssued):
        return done.message.token_id
    found = (getattr(event.ask, name, None) for name in _TARGETS)
    return next((one for one in found if isinstance(one, str)), None)


def log_debug(log: logging.Logger, thing: object) -> None:
    """Log an event or an action at debug level: its name and its ids, nothing else.

    Events and actions also contain tokens, keys and prompts, which must not be logged.
    """
    if log.isEnabledFor(logging.DEBUG):
        parts = [thing, *(part for name in _INSIDE if (part := getattr(thing, name, None)) is not None)]
        names = ".".join(type(part).__name__ for part in parts)
        ids = {name: getattr(part, name) for part in parts for name in _IDS if hasattr(part, name)}
        log.debug(line(names, **ids))
