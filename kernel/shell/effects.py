"""Carries out the core's effects after the commit.

An effect may be seen by others, so it happens only when the transaction that caused it is durable (adr/0002),
in the order in which the core asked for it. Blobs do not go through the core: `keep_blobs` keeps those that
an effect of the same event needs until it is carried out, and the core only sees their sizes and digests.
Anything slow (writing, reading and moving files) goes to the file thread, and its outcome comes back as a
later event. An effect that fails at once, such as a process that cannot be started, becomes an event too: the
loop hands it to the core in the next batch, so the core hears of every failure in the same way.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from kernel.core import actions
from kernel.core.events import ApiExited, Event, InputsUnreadable, PeerLost
from kernel.process.log import line
from kernel.protocol import client, header, worker
from kernel.protocol.codec import Frame
from kernel.protocol.ids import BlobId, ImageId, Lease
from kernel.protocol.specs import JobOrder, PictureOrder
from kernel.protocol.webhooks import signed_headers, signing_key
from kernel.shell.disk_usage import DiskUsage
from kernel.shell.file_thread import FileThread, Inputs, InputsRead, Output, Reading
from kernel.shell.model_files import Move
from kernel.shell.outbox import Outbox
from kernel.shell.state_reader import StateReader
from kernel.shell.worker_registry import WorkerRegistry

log = logging.getLogger("manager")


class ApiProcess(Protocol):
    """The API process, if the Manager runs it."""

    def start(self) -> None:
        """Raises: OSError, if it cannot be started."""

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(slots=True)
class Effects:
    """Carries out effects in order. Their immediate results are kept as `events` for the loop."""

    outbox: Outbox
    registry: WorkerRegistry
    files: FileThread
    state_reader: StateReader
    api_process: ApiProcess
    disks: DiskUsage
    master_key: bytes = field(repr=False)
    """Secret: every callback is signed with a key that is derived from it."""
    events: list[Event] = field(default_factory=list)
    exit_code: int | None = None
    _outputs: dict[ImageId | BlobId, Output] = field(default_factory=dict)
    _inputs: dict[str, Inputs] = field(default_factory=dict)
    _previews: dict[client.JobPreview, Frame] = field(default_factory=dict)
    _parts: dict[actions.Order, Frame] = field(default_factory=dict)
    """Parts of models that are being sent."""
    _unsent: dict[Lease, worker.RunJob] = field(default_factory=dict)
    """Orders for jobs whose input images are being read."""

    def keep_blobs(self, effects: Sequence[actions.Effect], blobs: tuple[Frame, ...]) -> None:
        """Keep an event's blobs until the effects that need them are carried out.

        Blobs that no effect needs are dropped.
        """
        for effect in effects:
            match effect:
                case actions.StoreOutput(output_id, folder, file_name, sha256):
                    self._outputs[output_id] = Output(output_id, folder, file_name, sha256, blobs[0])
                case actions.StoreInputs(key, files):
                    self._inputs[key] = Inputs(key, tuple(zip(files, blobs, strict=True)))
                case actions.PushPreview(_, message):
                    self._previews[message] = blobs[0]
                case actions.Order(has_blob=True):
                    self._parts[effect] = blobs[0]
                case _:
                    pass

    def carry_out(self, effect: actions.Effect) -> None:
        """Carry out one effect."""
        match effect:
            case actions.Reply() | actions.Push() | actions.PushPreview() | actions.RefuseStranger():
                self._tell(effect)
            case actions.Order():
                self._send_order(effect)
            case actions.GiveJob():
                self._give_job(effect)
            case actions.GiveDelivery():
                self._give_delivery(effect)
            case (
                actions.StoreOutput()
                | actions.StoreAgain()
                | actions.ForgetOutput()
                | actions.StoreInputs()
                | actions.MoveModel()
                | actions.ReadModelPart()
            ):
                self._tend_files(effect)
            case actions.SweepDisk():
                self.events.append(self.disks.look())
            case actions.CompareMemory():
                _compare_memory(effect)
            case actions.Exit(code):
                self.exit_code = code
            case (
                actions.LaunchWorker()
                | actions.LaunchInPool()
                | actions.AdmitWorker()
                | actions.TerminateWorker()
                | actions.KillWorker()
                | actions.ForgetWorker()
            ):
                self._run_worker(effect)
            case actions.LaunchApi() | actions.TerminateApi() | actions.KillApi():
                self._run_api(effect)
            case _:
                assert_never(effect)

    def _send_order(self, order: actions.Order) -> None:
        if isinstance(order.message, worker.CancelJob):
            self._unsent.pop(order.message.lease, None)
        blobs = (self._parts.pop(order),) if order.has_blob else ()
        self.registry.send(order.worker_id, order.message, blobs)

    def _tell(
        self, effect: actions.Reply | actions.Push | actions.PushPreview | actions.RefuseStranger
    ) -> None:
        match effect:
            case actions.Reply(peer, correlation, message):
                self.outbox.put(peer, correlation, message)
            case actions.Push(peers, message):
                for peer in peers:
                    self.outbox.put(peer, header.NO_CORRELATION, message)
            case actions.PushPreview():
                self._push_preview(effect)
            case actions.RefuseStranger(place, refuse):
                log.info(line("stranger_refused", code=refuse.code))
                self.registry.refuse(place, refuse)
            case _:
                assert_never(effect)

    def _tend_files(
        self,
        effect: actions.StoreOutput
        | actions.StoreAgain
        | actions.ForgetOutput
        | actions.StoreInputs
        | actions.MoveModel
        | actions.ReadModelPart,
    ) -> None:
        match effect:
            case actions.StoreOutput(output_id) | actions.StoreAgain(output_id):
                self.files.store(self._outputs[output_id])
            case actions.ForgetOutput(output_id):
                self._outputs.pop(output_id, None)
            case actions.StoreInputs(key):
                self.files.store(self._inputs.pop(key))
            case actions.MoveModel(model_id, file_name):
                self.files.move_model(Move(model_id, file_name))
            case actions.ReadModelPart():
                self.files.read_part(effect)
            case _:
                assert_never(effect)

    def finish(self) -> None:
        """All effects of a batch are carried out: send the messages for clients."""
        self.events += map(PeerLost, self.outbox.flush())

    def _give_job(self, action: actions.GiveJob) -> None:
        spec = self.state_reader.job_spec(action.job_id)
        if spec is None:
            return  # cancelled and deleted in the same batch: the worker only gets the cancellation
        missing = tuple(
            PictureOrder(index=n, image_id=action.image_ids[n], seed=spec.seed + n) for n in action.positions
        )
        order = JobOrder(job_id=action.job_id, spec=spec, models=action.models, pictures=missing)
        run = worker.RunJob(attempt=action.attempt, lease=action.lease, order=order)
        if not spec.inputs:
            self.registry.send(action.worker_id, run)
            return
        self._unsent[action.lease] = run
        files = self.state_reader.input_files(action.job_id, spec.inputs)
        self.files.read(Reading(action.worker_id, action.job_id, action.lease, files))

    def _give_delivery(self, give: actions.GiveDelivery) -> None:
        body = self.state_reader.delivery_body(give.delivery_id)
        if body is None:
            return  # its webhook was deleted in the same batch
        key = signing_key(self.master_key, give.signer)
        order = worker.SendCallback(
            delivery_id=give.delivery_id,
            attempt=give.attempt,
            url=give.url,
            headers=signed_headers(key, give.delivery_id, give.at_s, body),
            body=body,
        )
        self.registry.send(give.worker_id, order)

    def send_with_inputs(self, read: InputsRead | InputsUnreadable) -> None:
        """Send a job's order, now that its input images are read or cannot be, unless it was cancelled."""
        run = self._unsent.pop(read.lease, None)
        if run is None:
            return
        if isinstance(read, InputsRead):
            self.registry.send(read.worker_id, run, read.blobs)
        else:
            self.events.append(read)

    def _push_preview(self, effect: actions.PushPreview) -> None:
        """Send a preview; of several previews of one step in a batch, only one is sent."""
        preview = self._previews.pop(effect.message, None)
        if preview is not None:
            for peer in effect.peers:
                self.outbox.put(peer, header.NO_CORRELATION, effect.message, (preview,))

    def _run_worker(
        self,
        effect: actions.LaunchWorker
        | actions.LaunchInPool
        | actions.AdmitWorker
        | actions.TerminateWorker
        | actions.KillWorker
        | actions.ForgetWorker,
    ) -> None:
        log.info(line(type(effect).__name__, worker_id=effect.worker_id))
        match effect:
            case actions.LaunchWorker():
                if (exited := self.registry.launch(effect)) is not None:
                    self.events.append(exited)
            case actions.LaunchInPool():
                if (exited := self.registry.launch_in_pool(effect)) is not None:
                    self.events.append(exited)
            case actions.AdmitWorker():
                self.registry.admit(effect)
            case actions.TerminateWorker(worker_id):
                self.registry.terminate(worker_id)
            case actions.KillWorker(worker_id):
                self.registry.kill(worker_id)
            case actions.ForgetWorker(worker_id):
                self.registry.forget(worker_id)
            case _:
                assert_never(effect)

    def _run_api(self, effect: actions.LaunchApi | actions.TerminateApi | actions.KillApi) -> None:
        restarts = {"restarts": effect.restarts} if isinstance(effect, actions.LaunchApi) else {}
        log.info(line(type(effect).__name__, **restarts))
        match effect:
            case actions.LaunchApi():
                try:
                    self.api_process.start()
                except OSError as error:
                    self.events.append(ApiExited(f"could not start: {error}"))
            case actions.TerminateApi():
                self.api_process.terminate()
            case actions.KillApi():
                self.api_process.kill()
            case _:
                assert_never(effect)


def _compare_memory(action: actions.CompareMemory) -> None:
    """Log predicted and actual memory, of the weights and of the whole."""
    reserved = action.reservation
    figures = line(
        "memory_compared",
        worker_id=action.worker_id,
        device=reserved.device,
        plan=reserved.need.plan,
        batch_size=reserved.need.batch_size,
        reserved_bytes=reserved.need.bytes,
        weights_predicted_bytes=reserved.weights_bytes,
        weights_reported_bytes=action.reported_bytes,
    )
    is_far_off = action.reported_bytes > reserved.weights_bytes
    log.log(logging.WARNING if is_far_off else logging.INFO, figures)
