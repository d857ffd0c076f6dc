"""The broker: every decision of automatic-spoon, as one pure state machine.

    Broker.handle(event, now) -> list[Action]
    Broker.next_deadline() -> float
None

It does no I/O, reads no clock and draws no random number. The shell turns occurrences into events, carries
out the actions (saves first, in one transaction, then the effects) and comes back at the deadline.
"""

from typing import assert_never

from kernel.core import actions, status_report
from kernel.core.actions import Action
from kernel.core.admission import reconcile
from kernel.core.commands import dispatch, submissions
from kernel.core.events import (
    ApiExited,
    Asked,
    DeadlinePassed,
    DiskSwept,
    EnrollAsked,
    Event,
    InputsNotStored,
    InputsStored,
    InputsUnreadable,
    LaunchRan,
    LaunchWaited,
    ModelFilesListed,
    ModelFilesSeen,
    ModelMoved,
    ModelNotMoved,
    ModelPartNotRead,
    ModelPartRead,
    Now,
    OutputNotStored,
    OutputStored,
    PeerLost,
    Reported,
    ReportUnreadable,
    Snapshot,
    StatusAsked,
    StopAsked,
    WatchAsked,
    WorkerExited,
)
from kernel.core.handlers import deadlines, launch_news, manager_lifecycle, reports
from kernel.core.images import housekeeping, storing
from kernel.core.models import fetching, missing_files, pushing
from kernel.core.ports import IdSource, Limits
from kernel.core.state.world import World
from kernel.protocol import client


class Broker:
    """Turns events into actions. Source: docs/architecture.md, adr/0001."""

    def __init__(self, snapshot: Snapshot, limits: Limits, id_source: IdSource, now: Now) -> None:
        self.world = World(
            limits=limits, id_source=id_source, epoch=snapshot.epoch, now=now, started_s=now.mono_s
        )
        self._marks = self.world.marks()
        manager_lifecycle.restore(self.world, snapshot)

    def start(self, now: Now) -> list[Action]:
        """The first actions: restore order after the last run, in one transaction."""
        self.world.now = now
        manager_lifecycle.start(self.world)
        reconcile.serve_keys(self.world)
        manager_lifecycle.close_if_drained(self.world)
        return self._take_actions()

    def handle(self, event: Event, now: Now) -> list[Action]:
        """Decide what follows from an event. `now` must not run backwards.

        Raises: only unexpected errors. After one, `is_as_before` says whether the memory is still consistent.
        """
        self.world.now = now
        self._marks = self.world.marks()
        self._decide(event)
        reconcile.serve_keys(self.world)
        manager_lifecycle.close_if_drained(self.world)
        return self._take_actions()

    def is_as_before(self) -> bool:
        """After `handle` has raised: True if nothing has been changed yet (adr/0038)."""
        return self.world.marks() == self._marks

    def next_deadline(self) -> float | None:
        """When DeadlinePassed is due; None, if no deadline is set. Units: seconds, monotonic."""
        return self.world.timers.next_s()

    def _take_actions(self) -> list[Action]:
        taken, self.world.out = self.world.out, []
        return taken

    def _decide(self, event: Event) -> None:
        world = self.world
        match event:
            case Asked():
                dispatch.asked(world, event)
            case Reported() | EnrollAsked() | ReportUnreadable():
                reports.heard(world, event)
            case (
                OutputStored()
                | OutputNotStored()
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
                launch_news.exited(world, worker_id, status, last_words)
            case LaunchWaited() | LaunchRan():
                launch_news.told(world, event)
            case WatchAsked() | PeerLost():
                _watch(world, event)
            case StatusAsked():
                world.act(actions.Reply(event.peer, event.correlation, status_report.status(world, event)))
            case DiskSwept():
                housekeeping.sweep_done(world, event)
            case ModelFilesSeen(absent):
                missing_files.seen(world, absent)
            case ModelPartRead() | ModelFilesListed() | ModelPartNotRead():
                pushing.read(world, event)
            case StopAsked():
                manager_lifecycle.stop_asked(world)
            case ApiExited():
                manager_lifecycle.api_exited(world, event)
            case _:
                assert_never(event)


def _hear_of_files(
    world: World,
    event: OutputStored
    | OutputNotStored
    | InputsStored
    | InputsNotStored
    | InputsUnreadable
    | ModelMoved
    | ModelNotMoved,
) -> None:
    match event:
        case OutputStored(output_id):
            storing.stored(world, output_id)
        case OutputNotStored(output_id, reason, True):
            storing.damaged(world, output_id, reason)
        case OutputNotStored(output_id, reason):
            storing.not_stored(world, output_id, reason)
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


def _watch(world: World, event: WatchAsked | PeerLost) -> None:
    if isinstance(event, WatchAsked) and event.is_on:
        world.watchers[event.peer] = None
    else:
        world.watchers.pop(event.peer, None)
    if isinstance(event, PeerLost):
        return
    world.act(actions.Reply(event.peer, event.correlation, client.Watching(seq=world.last_change)))
