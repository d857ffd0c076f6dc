"""The Manager's loop: collect events, let the core decide, commit, then act.

Durable before visible: all saves of a batch are one transaction, and no message, process or file that follows
from them exists before that transaction is on the disk. The batch is also the group commit: while one waits
for its fsync, the next one gathers in the sockets, so the batch grows with the load by itself (adr/0002). One
thread does all this, because the core's memory must never be ahead of a commit that can still fail.

An unexpected error does not end the Manager: if nothing was changed, the event is refused; else the batch is
rolled back and everything is built anew from the database (adr/0038). A disk error ends the process.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from kernel.core.actions import Action, Effect, Save
from kernel.core.broker import Broker
from kernel.core.events import (
    Asked,
    DeadlinePassed,
    DeviceFact,
    DiskSwept,
    Event,
    ModelFilesSeen,
    Now,
    PeerLost,
    Prunable,
    Reported,
    ReportUnreadable,
    StatusAsked,
    WatchAsked,
)
from kernel.protocol.client import (
    CreateEngine,
    EditEngine,
    PruneImages,
    PruneModels,
    StartEngine,
    SubmitJob,
)
from kernel.protocol.enums import ControlType, EngineState, InputKind, Phase
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.worker import EngineFailed, JobFailed
from kernel.shell.decode import Arrival
from kernel.shell.effects import Effects
from kernel.shell.event_log import EventLog, log_debug
from kernel.shell.gc_control import GcControl
from kernel.shell.launchers.standby import Standbys
from kernel.shell.sources import Sources
from kernel.shell.state_reader import DUE_AT_ONCE, StateReader
from kernel.shell.storage_folders import StorageFolders
from kernel.shell.store import Store
from kernel.shell.trash import Trash
from kernel.shell.unexpected_errors import LifeOver, UnexpectedErrors, is_of_the_disk, reason, refusals

log = logging.getLogger("manager")
LONGEST_WAIT_S: Final = 3600.0
LATE_S: Final = 5.0
"""How long deadlines wait for messages that are there already. These may be what a deadline waits for, such
as the heartbeats of a thousand workers that came while the Manager was busy."""


@dataclass(slots=True)
class Loop:
    """Turns occurrences into events, and actions into effects, batch by batch."""

    broker: Broker
    store: Store
    state_reader: StateReader
    sources: Sources
    effects: Effects
    clock: Callable[[], Now]
    devices: Callable[[], tuple[DeviceFact, ...]]
    storage_folders: StorageFolders
    absent_detectors: Callable[[], Mapping[ControlType, str]]
    unexpected: UnexpectedErrors
    standbys: Standbys = field(default_factory=Standbys.none)
    gc_control: GcControl = field(default_factory=GcControl)
    pause_s: float = 0.0
    """After LifeOver: seconds to wait before the next run."""
    _subject: Event | Effect | None = None
    """The event being handled, or the effect being carried out."""
    _trash: Trash = field(init=False)
    _event_log: EventLog = field(default_factory=lambda: EventLog(log))
    _is_verbose: bool = field(default_factory=lambda: log.isEnabledFor(logging.DEBUG))

    def __post_init__(self) -> None:
        self._trash = Trash(self.store, self.state_reader, self.effects.files)

    def run(self) -> int:
        """Run until the core says Exit. Returns: the exit code.

        Raises: LifeOver, if memory may be half-changed; apsw.Error, if the disk failed.
        """
        began_s = self.clock().mono_s
        self._finish(self._save_all(self.broker.start(self.clock())))
        try:
            while self.effects.exit_code is None:
                self._turn()
        except Exception as error:
            if is_of_the_disk(error):
                raise
            self._end(error, began_s)
            raise LifeOver from error
        return self.effects.exit_code

    def _turn(self) -> None:
        self._subject = None
        arrivals = self.sources.wait(self._patience_s())
        if not arrivals:
            self.gc_control.use(self.clock().mono_s)
        self._batch(arrivals)
        self._send_jobs_with_inputs()
        self._empty_trash()
        self._tend_standbys(self.clock().mono_s)

    def _end(self, error: Exception, began_s: float) -> None:
        """Undo the batch, answer the client that caused the error, and make sure that it does not recur."""
        self.store.roll_back()
        self.unexpected.is_stopping = self.broker.world.phase is not Phase.RUNNING
        error_id = self.unexpected.tell(self._subject, error)
        self.pause_s = self.unexpected.end_life(self._subject, error_id, self.clock().mono_s - began_s)
        for effect in refusals(self._subject, error_id):
            self.effects.carry_out(effect)
        self.effects.finish()

    def _patience_s(self) -> float | None:
        if self.effects.events:
            return 0.0
        deadlines = (self.broker.next_deadline(), self.standbys.next_deadline_s())
        soonest_s = min((at_s for at_s in deadlines if at_s is not None), default=None)
        if soonest_s is None:
            return None
        return min(max(0.0, soonest_s - self.clock().mono_s), LONGEST_WAIT_S)

    def _tend_standbys(self, now_s: float) -> None:
        world = self.broker.world
        if world.phase is not Phase.RUNNING:
            self.standbys.end()
        elif self.standbys.is_due(now_s):
            is_loading = any(engine.row.status is EngineState.STARTING for engine in world.engines.values())
            self.standbys.tend(now_s, is_loading=is_loading, is_busy=world.processing > 0)

    def _batch(self, arrivals: list[Arrival]) -> None:
        """Handle all events in one transaction. The facts of an event include the saves of earlier ones."""
        now = self.clock()
        arrivals += map(Arrival, self.effects.events)
        self.effects.events = []
        deadline_s = self.broker.next_deadline()
        patience_s = 0.0 if self.sources.is_drained else LATE_S
        if deadline_s is not None and deadline_s <= now.mono_s - patience_s:
            arrivals.append(Arrival(DeadlinePassed()))
        effects: list[Effect] = []
        for arrival in arrivals:
            effects += self._handle(arrival, now)
        self._finish(effects)

    def _handle(self, arrival: Arrival, now: Now) -> list[Effect]:
        effects = self._look_at_models(arrival.event, now)
        effects += self._decide(arrival.event, now)
        if arrival.blobs:
            self.effects.keep_blobs(effects, arrival.blobs)
        return effects

    def _decide(self, event: Event, now: Now) -> list[Effect]:
        """Let the core handle an event. On an unexpected error it is refused, if nothing has been changed."""
        self._subject = event
        if (error_id := self.unexpected.known(event)) is not None:
            return refusals(event, error_id)
        try:
            event = self._with_facts(event, now)
        except Exception as error:
            if is_of_the_disk(error):
                raise
            return self._refuse(event, error, now)
        if self._is_verbose:
            log_debug(log, event)
        try:
            found = self.broker.handle(event, now)
        except Exception as error:
            if not self.broker.is_as_before():
                raise
            return self._refuse(event, error, now)
        effects = self._save_all(found)
        if isinstance(event, Asked) and event.is_of_admin:
            self._event_log.acted(event, effects)
        return effects

    def _refuse(self, event: Event, error: Exception, now: Now) -> list[Effect]:
        """Refuse the event, since nothing has been changed. An event that happened on this host cannot be
        refused."""
        match event:
            case Asked() | StatusAsked() | WatchAsked() | DiskSwept() | PeerLost() | ReportUnreadable():
                return refusals(event, self.unexpected.tell(event, error))
            case Reported(worker_id):
                error_id = self.unexpected.tell(event, error)
                return self._decide(ReportUnreadable(worker_id, reason(error_id)), now)
            case _:
                raise error

    def _look_at_models(self, event: Event, now: Now) -> list[Effect]:
        """Check the models' files before an engine is started by hand, and after one could not be loaded."""
        match event:
            case Asked(ask=CreateEngine() | EditEngine() | StartEngine()):
                pass
            case Reported(report=EngineFailed() | JobFailed(code=ModelUnreadable.code)):
                pass
            case _:
                return []
        absent = self.storage_folders.absent_models(self.broker.world.models.values())
        return self._decide(ModelFilesSeen(absent), now)

    def _with_facts(self, event: Event, now: Now) -> Event:
        match event:
            case Asked():
                facts = self.state_reader.facts(event.key, event.ask)
                if isinstance(event.ask, CreateEngine | EditEngine | StartEngine | SubmitJob):
                    facts = replace(facts, devices=self.devices())
                if isinstance(event.ask, SubmitJob) and InputKind.POSE in event.ask.request.inputs:
                    facts = replace(facts, absent_detectors=self.absent_detectors())
                if isinstance(event.ask, PruneImages):
                    facts = replace(facts, prunable=self._prunable(event.ask, now))
                if isinstance(event.ask, PruneModels):
                    facts = replace(facts, kept_models=self.storage_folders.kept_models())
                return replace(event, facts=facts)
            case StatusAsked():
                shown = tuple(fact.status for fact in self.devices())
                told = {
                    "internal_errors": self.unexpected.count,
                    "last_internal_error": self.unexpected.last_id,
                }
                return replace(event, devices=shown, standbys=len(self.standbys.pids()), **told)
            case DiskSwept():
                self._trash.look_again()
                images, blobs = (
                    self.state_reader.images_due(now.unix_ms),
                    self.state_reader.blobs_due(now.unix_ms),
                )
                has_more = max(len(images), len(blobs)) >= DUE_AT_ONCE
                devices = self.devices()
                return replace(
                    event, images_due=images, blobs_due=blobs, has_more_due=has_more, devices=devices
                )
            case _:
                return event

    def _prunable(self, ask: PruneImages, now: Now) -> Prunable:
        if not ask.missing:
            return self.state_reader.prunable(ask, now.unix_ms)
        try:
            return self.state_reader.prunable(ask, now.unix_ms, self.storage_folders.image_names())
        except OSError as error:
            return Prunable((), 0, unreadable=error.strerror or str(error))

    def _save_all(self, actions: list[Action]) -> list[Effect]:
        """Put the saves into the transaction. Returns: the effects, for after the commit."""
        effects: list[Effect] = []
        for action in actions:
            if self._is_verbose:
                log_debug(log, action)
            if isinstance(action, Save):
                self._save(action)
            else:
                effects.append(action)
                self._event_log.gave(action)
        return effects

    def _save(self, save: Save) -> None:
        self.store.save(save)
        self._trash.note(save)
        self._event_log.saved(save)

    def _finish(self, effects: list[Effect]) -> None:
        """Make the batch durable; only then carry out its effects."""
        self.store.commit()
        self._subject = None
        for effect in effects:
            self._subject = effect
            self.effects.carry_out(effect)
        self.effects.finish()
        world = self.broker.world
        self._event_log.phase(world.phase, world.processing)
        self._event_log.tell()

    def _send_jobs_with_inputs(self) -> None:
        for read in self.sources.readings:
            self.effects.send_with_inputs(read)
        self.sources.readings = []

    def _empty_trash(self) -> None:
        for removed in self.sources.removals:
            self._trash.strike_off(removed)
        self.sources.removals = []
        self._trash.empty()
