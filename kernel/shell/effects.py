"""The hands of the Manager: what the core wants done, once it is durable that it does."""

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, assert_never

from kernel.core import actions
from kernel.core.events import CompanionExited, Event, PeerLost, StockTaken
from kernel.protocol import head, worker
from kernel.protocol.codec import Frame
from kernel.protocol.ids import ImageId
from kernel.protocol.specs import JobOrder, PictureOrder
from kernel.shell import journal
from kernel.shell.crew import Crew
from kernel.shell.files import FileThread, Picture
from kernel.shell.model_files import Move
from kernel.shell.outbox import Outbox
from kernel.shell.recall import Recall

log = logging.getLogger("manager")


class Companion(Protocol):
    """The API process, when the Manager runs it."""

    def start(self) -> None:
        """Raises: OSError, if it cannot be started."""

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(slots=True)
class Effects:
    """Carries out effects in order. What follows from them at once is kept as `events` for the loop."""

    outbox: Outbox
    crew: Crew
    files: FileThread
    recall: Recall
    companion: Companion
    images_folder: Path
    events: list[Event] = field(default_factory=list)
    exit_code: int | None = None
    _pictures: dict[ImageId, Picture] = field(default_factory=dict)

    def keep_picture(self, action: actions.StorePicture, report: worker.ImageReady, data: Frame) -> None:
        """Hold on to a picture's bytes until the core wants them stored or forgotten."""
        self._pictures[action.image_id] = Picture(action.image_id, action.file_name, report.sha256, data)

    def carry_out(self, effect: actions.Effect) -> None:
        """Do one thing."""
        match effect:
            case actions.Reply(peer, correlation, message):
                self.outbox.put(peer, correlation, message)
            case actions.Push(peers, message):
                for peer in peers:
                    self.outbox.put(peer, head.NO_CORRELATION, message)
            case actions.Order(worker_id, message):
                self.crew.send(worker_id, message)
            case actions.GiveJob():
                self._give_job(effect)
            case actions.StorePicture(image_id) | actions.StoreAgain(image_id):
                self.files.store(self._pictures[image_id])
            case actions.ForgetPicture(image_id):
                self._pictures.pop(image_id, None)
            case actions.MoveModel(model_id, file_name):
                self.files.move_model(Move(model_id, file_name))
            case actions.TakeStock():
                self._take_stock()
            case actions.Exit(code):
                self.exit_code = code
            case (
                actions.LaunchWorker()
                | actions.MintTicket()
                | actions.TerminateWorker()
                | actions.KillWorker()
                | actions.ForgetWorker()
            ):
                self._run_worker(effect)
            case actions.LaunchCompanion() | actions.TerminateCompanion() | actions.KillCompanion():
                self._run_companion(effect)
            case _:
                assert_never(effect)

    def finish(self) -> None:
        """All effects of a batch are carried out: let go what they have for clients."""
        self.events += map(PeerLost, self.outbox.flush())

    def _give_job(self, action: actions.GiveJob) -> None:
        spec = self.recall.job_spec(action.job_id)
        if spec is None:
            return  # cancelled and deleted in the same batch: the worker hears of the cancelling alone
        pictures = tuple(
            PictureOrder(index=n, image_id=action.image_ids[n], seed=spec.seed + n) for n in action.positions
        )
        order = JobOrder(job_id=action.job_id, spec=spec, pictures=pictures)
        run = worker.RunJob(attempt=action.attempt, lease=action.lease, order=order)
        self.crew.send(action.worker_id, run)

    def _take_stock(self) -> None:
        self.events.append(StockTaken(shutil.disk_usage(self.images_folder).free))

    def _run_worker(
        self,
        effect: actions.LaunchWorker
        | actions.MintTicket
        | actions.TerminateWorker
        | actions.KillWorker
        | actions.ForgetWorker,
    ) -> None:
        log.info(journal.line(type(effect).__name__, worker_id=effect.worker_id))
        match effect:
            case actions.LaunchWorker():
                if (exited := self.crew.launch(effect)) is not None:
                    self.events.append(exited)
            case actions.MintTicket(peer, correlation):
                ticket = self.crew.invite(effect)
                self.outbox.put(peer, correlation, ticket)
            case actions.TerminateWorker(worker_id):
                self.crew.terminate(worker_id)
            case actions.KillWorker(worker_id):
                self.crew.kill(worker_id)
            case actions.ForgetWorker(worker_id):
                self.crew.forget(worker_id)
            case _:
                assert_never(effect)

    def _run_companion(
        self, effect: actions.LaunchCompanion | actions.TerminateCompanion | actions.KillCompanion
    ) -> None:
        log.info(journal.line(type(effect).__name__))
        match effect:
            case actions.LaunchCompanion():
                try:
                    self.companion.start()
                except OSError as error:
                    self.events.append(CompanionExited(f"it could not be started: {error}"))
            case actions.TerminateCompanion():
                self.companion.terminate()
            case actions.KillCompanion():
                self.companion.kill()
            case _:
                assert_never(effect)
