"""The Manager's neighbours, played: workers that do what they are told, and the socket of the clients."""

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.events import Reported, WorkerExited
from kernel.protocol import client, codec
from kernel.protocol import worker as wire
from kernel.protocol.codec import Frame
from kernel.protocol.enums import ControlType, InputKind
from kernel.protocol.ids import WorkerId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.sources import UploadedSource, incoming_name, is_local, parse_source, uploaded_name
from kernel.protocol.specs import JobOrder
from kernel.shell.decode import Arrival
from tests.integration.kernel.steps import LAUNCHED, ORDERED, TOLD, Steps
from tests.unit.core.samples import fingerprint

PICTURES: Mapping[InputKind, bytes] = {
    InputKind.REFERENCE: b"a reference" * 50,
    InputKind.POSE: b"a pose" * 70,
}
"""What comes with the jobs of all stories."""
CAPACITY = 2


class PlayedFront:
    """The clients' socket: remembers what was said under which correlation."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._decoder = codec.reply_decoder()
        self.replies: dict[bytes, client.BrokerReply] = {}

    def send(self, peer: bytes, frames: Sequence[Frame]) -> bool:
        self._steps.take(TOLD)
        received = self._decoder.decode(frames)
        self.replies[received.head.correlation] = received.body
        return True


class PlayedRegistry:
    """All workers of one life of the Manager. What they say next is in `says`."""

    def __init__(self, steps: Steps, models: Path) -> None:
        self._steps, self._models = steps, models
        self.says: deque[Arrival] = deque()
        self.living: set[WorkerId] = set()

    def launch(self, action: actions.LaunchWorker) -> None:
        self._steps.take(LAUNCHED)
        self.living.add(action.worker_id)
        hello = wire.Hello(
            role=action.role, worker_id=action.worker_id, token=action.token, version="1", pid=1, host="here"
        )
        self._say(action.worker_id, hello)

    def pings(self) -> list[Arrival]:
        """What all say when time passes."""
        return [Arrival(Reported(worker_id, wire.Ping())) for worker_id in sorted(self.living)]

    def send(self, worker_id: WorkerId, message: wire.WorkerOrder, blobs: Sequence[Frame] = ()) -> bool:
        if worker_id not in self.living:
            return False
        self._steps.take(ORDERED)
        match message:
            case wire.LoadEngine(load=load):
                ready = wire.EngineReady(
                    engine_id=load.engine_id, device="cpu", memory_bytes=1, capacity=CAPACITY
                )
                self._say(worker_id, ready)
            case wire.InspectModel(source=source):
                self._say(worker_id, self._fetched(source))
            case wire.RunJob():
                self._make(worker_id, message, blobs)
            case wire.CancelJob(job_id=job_id, lease=lease):
                self.says = deque(one for one in self.says if not _is_about(one, job_id))
                self._say(worker_id, wire.JobDropped(job_id=job_id, lease=lease))
            case wire.Drain() | wire.Leave():
                self._say(worker_id, wire.Goodbye(reason="it was told to"))
                self.terminate(worker_id)
            case _:
                pass
        return True

    def terminate(self, worker_id: WorkerId) -> None:
        if worker_id in self.living:
            self.living.remove(worker_id)
            self.says.append(Arrival(WorkerExited(worker_id, "exit code 0")))

    kill = terminate

    def forget(self, worker_id: WorkerId) -> None:
        self.living.discard(worker_id)

    def _say(self, worker_id: WorkerId, report: wire.WorkerReport, blob: bytes | None = None) -> None:
        blobs = () if blob is None else (blob,)
        self.says.append(Arrival(Reported(worker_id, report, has_blob=bool(blobs)), blobs))

    # Making pictures.

    def _make(self, worker_id: WorkerId, run: wire.RunJob, blobs: Sequence[Frame]) -> None:
        order = run.order
        assert [bytes(blob) for blob in blobs] == [PICTURES[kind] for kind in order.spec.inputs]
        self._say(worker_id, wire.Accepted(job_id=order.job_id, lease=run.lease))
        maps = (ControlType.OPENPOSE,) if InputKind.POSE in order.spec.inputs else ()
        for control_type in maps:
            data = f"map of {order.job_id}".encode() * 20
            self._say(worker_id, _map(order, run, control_type, data), data)
        for picture in order.pictures:
            data = picture_of(picture.image_id)
            self._say(worker_id, _image(order, run, picture.index, data), data)
        self._say(worker_id, wire.JobDone(job_id=order.job_id, lease=run.lease, maps=maps))

    # Fetching models.

    def _fetched(self, source: ModelSource) -> wire.FetchReport:
        found = replace(fingerprint(), model_type=source.model_type)
        if is_local(source.uri):
            return wire.ModelInspected(model_id=source.model_id, fingerprint=found)
        ready = self._models / incoming_name(source.model_id) / "ready"
        if not ready.exists() and not self._gather(source, ready):
            return wire.ModelFailed(model_id=source.model_id, code="download_failed", text="it is gone")
        is_tree = ready.is_dir()
        content = ready / "unet/model" if is_tree else ready
        sha256 = hashlib.sha256(content.read_bytes()).hexdigest()
        stored = f"trees/{sha256}" if is_tree else f"files/{sha256}.safetensors"
        found = replace(found, sha256=sha256)
        return wire.ModelInspected(model_id=source.model_id, fingerprint=found, stored=stored)

    def _gather(self, source: ModelSource, ready: Path) -> bool:
        ready.parent.mkdir(exist_ok=True)
        (ready.parent / "plan.json").write_text("{}")
        parsed = parse_source(source.uri)
        if isinstance(parsed, UploadedSource):
            upload = self._models / uploaded_name(parsed.upload)
            if upload.exists():
                upload.rename(ready)
            return ready.exists()
        if source.uri.startswith("hf://"):
            (ready / "unet").mkdir(parents=True, exist_ok=True)
            (ready / "unet/model").write_text(source.uri)
        else:
            ready.write_text(source.uri)
        return True


def picture_of(image_id: str) -> bytes:
    """The bytes of an image, wherever it is made."""
    return f"picture {image_id}".encode() * 30


def _is_about(arrival: Arrival, job_id: str) -> bool:
    event = arrival.event
    return isinstance(event, Reported) and getattr(event.report, "job_id", None) == job_id


def _map(order: JobOrder, run: wire.RunJob, control_type: ControlType, data: bytes) -> wire.ControlMap:
    return wire.ControlMap(
        job_id=order.job_id,
        lease=run.lease,
        control_type=control_type,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _image(order: JobOrder, run: wire.RunJob, index: int, data: bytes) -> wire.ImageReady:
    picture = next(picture for picture in order.pictures if picture.index == index)
    return wire.ImageReady(
        job_id=order.job_id,
        lease=run.lease,
        index=index,
        image_id=picture.image_id,
        seed=picture.seed,
        mime="image/png",
        width_px=64,
        height_px=64,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
