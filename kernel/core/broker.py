"""The broker: everything that automatic-spoon ever decides, as one pure state machine.

    Broker.handle(event, now) -> list[Action]
    Broker.next_deadline() -> float | None

It does no I/O, knows no clock and draws no random number. The shell turns what happens into events,
carries out the actions (saves first, in one transaction, then the effects) and comes back at the deadline.
"""

from typing import assert_never

from kernel.core import (
    actions,
    asks,
    companion,
    deadlines,
    departures,
    fetching,
    life,
    losses,
    pictures,
    reports,
    stock,
    submissions,
)
from kernel.core.actions import Action
from kernel.core.events import (
    Asked,
    CompanionExited,
    DeadlinePassed,
    Event,
    InputsNotStored,
    InputsStored,
    InputsUnreadable,
    ModelFilesSeen,
    ModelMoved,
    ModelNotMoved,
    Now,
    PeerLost,
    PictureNotStored,
    PictureStored,
    Reported,
    ReportUnreadable,
    Snapshot,
    StatusAsked,
    StockTaken,
    StopAsked,
    WatchAsked,
    WorkerExited,
)
from kernel.core.ports import Fresh, Limits
from kernel.core.world import World
from kernel.protocol import client


class Broker:
    """The one place of decisions. Source: docs/architecture.md, adr/0001."""

    def __init__(self, snapshot: Snapshot, limits: Limits, fresh: Fresh, now: Now) -> None:
        self.world = World(limits=limits, fresh=fresh, epoch=snapshot.epoch, now=now, started_s=now.mono_s)
        self._marks = self.world.marks()
        life.restore(self.world, snapshot)

    def start(self, now: Now) -> list[Action]:
        """The first actions: what a former life left open is put right, in one transaction."""
        self.world.now = now
        life.start(self.world)
        life.close_if_drained(self.world)
        return self._take_actions()

    def handle(self, event: Event, now: Now) -> list[Action]:
        """Decide what follows from an event. The time must not run backwards.

        Raises: nothing that anybody foresaw. If it does, ask `is_as_before` whether memory still holds.
        """
        self.world.now = now
        self._marks = self.world.marks()
        self._decide(event)
        life.close_if_drained(self.world)
        return self._take_actions()

    def is_as_before(self) -> bool:
        """Once `handle` has raised: has nothing been changed yet that counts?"""
        return self.world.marks() == self._marks

    def next_deadline(self) -> float | None:
        """When DeadlinePassed should be handled. Units: seconds, monotonic."""
        return self.world.timers.next_s()

    def _take_actions(self) -> list[Action]:
        taken, self.world.out = self.world.out, []
        return taken

    def _decide(self, event: Event) -> None:
        world = self.world
        match event:
            case Asked():
                asks.asked(world, event)
            case Reported():
                reports.reported(world, event)
            case ReportUnreadable():
                reports.unreadable(world, event)
            case (
                PictureStored()
                | PictureNotStored()
                | InputsStored()
                | InputsNotStored()
                | InputsUnreadable()
                | ModelMoved()
                | ModelNotMoved()
            ):
                _hear_of_files(world, event)
            case DeadlinePassed():
                deadlines.passed(world)
            case WorkerExited(worker_id, status, last_words):
                if (worker := world.workers.get(worker_id)) is not None:
                    departures.worker_gone(world, worker, status, last_words)
            case WatchAsked():
                _watch(world, event)
            case StatusAsked():
                world.act(actions.Reply(event.peer, event.correlation, _status(world, event)))
            case PeerLost(peer):
                world.watchers.pop(peer, None)
            case StockTaken():
                stock.taken(world, event)
            case ModelFilesSeen(absent):
                losses.seen(world, absent)
            case StopAsked():
                life.stop_asked(world)
            case CompanionExited():
                life.companion_exited(world, event)
            case _:
                assert_never(event)


def _hear_of_files(
    world: World,
    event: PictureStored
    | PictureNotStored
    | InputsStored
    | InputsNotStored
    | InputsUnreadable
    | ModelMoved
    | ModelNotMoved,
) -> None:
    match event:
        case PictureStored(picture_id):
            pictures.stored(world, picture_id)
        case PictureNotStored(picture_id, reason, True):
            pictures.damaged(world, picture_id, reason)
        case PictureNotStored(picture_id, reason):
            pictures.not_stored(world, picture_id, reason)
        case InputsStored(key):
            submissions.stored(world, key)
        case InputsNotStored(key, reason, is_damaged):
            submissions.not_stored(world, key, reason, is_damaged=is_damaged)
        case InputsUnreadable():
            reports.inputs_unreadable(world, event)
        case ModelMoved(model_id):
            fetching.moved(world, model_id)
        case ModelNotMoved(model_id, reason):
            fetching.not_moved(world, model_id, reason)


def _watch(world: World, event: WatchAsked) -> None:
    if event.is_on:
        world.watchers[event.peer] = None
    else:
        world.watchers.pop(event.peer, None)
    world.act(actions.Reply(event.peer, event.correlation, client.Watching(seq=world.last_change)))


def _status(world: World, event: StatusAsked) -> client.Status:
    return client.Status(
        version=event.version,
        pid=event.pid,
        phase=world.phase,
        uptime_s=round(world.now.mono_s - world.started_s, 3),
        jobs_waiting=world.waiting,
        jobs_processing=world.processing,
        engines_running=sum(e.is_running for e in world.engines.values()),
        is_disk_low=world.has_no_room,
        is_models_disk_low=world.is_models_disk_low,
        devices=event.devices,
        api=companion.life(world),
        standbys=event.standbys,
        internal_errors=event.internal_errors,
        last_internal_error=event.last_internal_error,
    )
