"""What happens to an installation, told from a client's place: each story is one that must survive anything.

A client is told that the disk is full, or that its job failed for that, only when the disk is broken; then it
asks again, as a person would. Whatever else it is told, it holds to.
"""

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from kernel.core.actions import SaveEngine, SaveModel
from kernel.protocol import client
from kernel.protocol.enums import ControlType, EngineState, InputKind, ModelType
from kernel.protocol.ids import EngineId, ImageId, JobId, ModelId
from kernel.protocol.model_refs import InputFile
from kernel.protocol.rows import EngineRow
from kernel.protocol.specs import EngineSpec, JobRequest
from kernel.protocol.uuid7 import Uuid7
from kernel.shell.store import Store
from tests.integration.kernel.lives import Leap, Story, Tell, Until, Wait, Wish, World, settings_of
from tests.integration.kernel.played import PICTURES
from tests.integration.kernel.saving import saved
from tests.unit.core.samples import CHECKPOINT, checkpoint, controlnet

Answer = TypeVar("Answer")
Part = Generator[Wish, client.BrokerReply | None, Answer]

ENGINE: Final = EngineId("engine")
UPLOAD: Final = "1" * 32
DAY_S: Final = 86_400.0
WEEK_S: Final = 7 * DAY_S
LOOK_S: Final = 11.0
"""A little longer than the time between two looks at what expires."""


def furnish(folder: Path) -> None:
    """What every story begins with: a checkpoint, a ControlNet, an engine of both, an upload, left-overs."""
    net = controlnet(ControlType.OPENPOSE)
    spec = EngineSpec(
        checkpoint=CHECKPOINT, control_net=ControlType.OPENPOSE, control_models=(net.model_id,), steps=1
    )
    row = EngineRow(engine_id=ENGINE, name=None, spec=spec, status=EngineState.CLOSED, created_at_ms=0)
    lies = (folder / "weights").as_uri()
    (folder / "weights").touch()
    store = Store(settings_of(folder).database_file)
    saved(store, *(SaveModel(replace(one, uri=lies)) for one in (checkpoint(), net)), SaveEngine(row))
    store.close()
    left_over = Uuid7().text()
    for name in (
        f"images/{left_over}.png",
        f"blobs/{left_over}.jpg.part",
        f"models/incoming/{left_over}/part",
        f"models/uploads/{UPLOAD}",
    ):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)


def _tell(
    world: World, stage: str, ask: client.Ask, blobs: tuple[bytes, ...] = ()
) -> Part[client.BrokerReply]:
    """Ask, again and again for as long as the disk is full."""
    key = world.new_key()
    while True:
        world.stage = stage
        reply = yield Tell(ask, blobs, key)
        assert reply is not None
        if not isinstance(reply, client.Refused):
            return reply
        assert reply.code == "disk_full", reply
        assert world.steps.fault is not None, "the disk was well"
        yield Wait(LOOK_S)


def _job(world: World, count: int = 1, *inputs: InputKind, **fields: object) -> Part[client.JobAccepted]:
    """A job that is made. One that the disk has failed is asked for anew."""
    while True:
        files = tuple(
            InputFile(
                mime="image/png",
                size_bytes=len(PICTURES[kind]),
                sha256=hashlib.sha256(PICTURES[kind]).hexdigest(),
            )
            for kind in inputs
        )
        request = JobRequest(count=count, width_px=64, height_px=64, inputs=inputs, **fields)  # type: ignore[arg-type]
        ask = client.SubmitJob(engine_id=ENGINE, request=request, files=files)
        reply = yield from _tell(world, "submit", ask, tuple(PICTURES[kind] for kind in inputs))
        assert isinstance(reply, client.JobAccepted)
        world.stage = "run"
        yield from _ended(world, reply.job_id)
        ((status, code),) = world.rows(f"SELECT status, error_code FROM job WHERE job_id = '{reply.job_id}'")
        if status == "finished":
            return reply
        assert (status, code) == ("failed", "disk_full")
        assert world.steps.fault is not None, "the disk was well"


def _ended(world: World, job_id: JobId) -> Part[None]:
    query = f"SELECT 1 FROM job WHERE job_id = '{job_id}' AND finished_at_ms IS NOT NULL"
    yield Until("the job's end", lambda: world.rows(query))


def _model(world: World, name: str, uri: str) -> Part[ModelId]:
    """A model that is ready. One that the disk has failed is tried again."""
    ask = client.RegisterModel(name=name, uri=uri, model_type=ModelType.CHECKPOINT)
    reply = yield from _tell(world, "register", ask)
    assert isinstance(reply, client.ModelAccepted)
    while True:
        world.stage = "fetch"
        query = f"SELECT status, error_code FROM model WHERE model_id = '{reply.model_id}'"
        yield Until("the model", lambda q=query: world.rows(q)[0][0] != "downloading")  # type: ignore[misc]
        ((status, code),) = world.rows(query)
        if status == "ready":
            return reply.model_id
        assert code == "download_failed"
        assert world.steps.fault is not None, "the disk was well"
        yield Wait(LOOK_S)
        yield from _tell(world, "register", client.RetryModel(model_id=reply.model_id))


def _download(world: World, image_id: ImageId, *, whole: bool = True) -> Part[None]:
    granted = yield from _tell(world, "claim", client.ClaimDownload(image_id=image_id))
    assert isinstance(granted, client.DownloadGranted)
    assert (world.folder / "images" / granted.file_name).exists()
    ask = client.FinishDownload(image_id=image_id, ticket=granted.ticket, whole=whole)
    yield from _tell(world, "download", ask)


def _downloads(world: World, image_id: ImageId) -> object:
    return world.rows(f"SELECT downloads, gone_reason FROM image WHERE image_id = '{image_id}'")[0]


def _settle(world: World) -> Part[None]:
    """The disk is well again, and housekeeping has looked since."""
    yield Wait(LOOK_S if world.steps.fault is None else LOOK_S + world.steps.fault.lasts_s)


# The stories.


def a_job_with_pictures(world: World) -> Story:
    """Its inputs come, two pictures and a control map are made, all goes with its deletion."""
    job = yield from _job(world, 2, InputKind.REFERENCE, InputKind.POSE)
    assert len(world.rows("SELECT 1 FROM image")) == 2
    yield from _tell(world, "delete", client.DeleteJob(job_id=job.job_id))
    yield from _settle(world)
    assert world.rows("SELECT 1 FROM job WHERE job_id = '" + job.job_id + "'") == []


def a_picture_counted_out(world: World) -> Story:
    """A picture may be downloaded twice; what breaks off is not counted; another one is deleted."""
    job = yield from _job(world, 2, delete_after_downloads=2)
    first, second = job.image_ids
    yield from _download(world, first)
    yield from _download(world, first, whole=False)
    assert _downloads(world, first) == (1, None)
    yield from _download(world, first)
    assert _downloads(world, first) == (2, "used_up")
    gone = yield Tell(client.ClaimDownload(image_id=first))
    assert isinstance(gone, client.Refused)
    assert gone.code == "image_gone"
    yield from _download(world, second)
    yield from _tell(world, "delete", client.DeleteImage(image_id=second))
    assert _downloads(world, second) == (1, "deleted")
    yield from _settle(world)


def everything_expires(world: World) -> Story:
    """Pictures and what came with the job grow old, others make room for newer ones, one is lost, a person
    prunes."""
    yield from _job(world, 1, InputKind.REFERENCE)
    world.stage = "expire"
    yield Leap(WEEK_S + 1)
    yield from _settle(world)
    assert world.rows("SELECT gone_reason FROM image") == [("expired",)]
    assert world.rows("SELECT 1 FROM blob") == []
    yield from _job(world, 3)
    world.stage = "quota"
    yield Until("the quota", lambda: world.rows("SELECT 1 FROM image WHERE gone_reason = 'quota'"))
    ((name,),) = world.rows("SELECT min(file_name) FROM image WHERE gone_reason IS NULL")
    (world.folder / "images" / str(name)).unlink()
    yield from _tell(world, "prune", client.PruneImages(missing=True))
    assert world.rows(f"SELECT gone_reason FROM image WHERE file_name = '{name}'") == [("lost",)]
    yield from _tell(world, "prune", client.PruneImages(older_than_s=0.0))
    yield from _settle(world)
    assert world.rows("SELECT 1 FROM image WHERE gone_reason IS NULL") == []


def a_model_comes_and_goes(world: World) -> Story:
    """A model is downloaded, moved, registered once more by another name, and deleted with its files."""
    uri = "https://example.org/dreams.safetensors"
    first = yield from _model(world, "dreams", uri)
    second = yield from _model(world, "the same", uri)
    yield from _tell(world, "delete model", client.DeleteModel(model_id=first, files=True))
    assert len(list((world.folder / "models/files").iterdir())) == 1, "the other one has it still"
    yield from _tell(world, "delete model", client.DeleteModel(model_id=second, files=True))
    yield from _settle(world)


def a_folder_and_an_upload(world: World) -> Story:
    """A model of several files is downloaded and deleted, its files are pruned; an uploaded one stays."""
    tree = yield from _model(world, "tree", "hf://owner/tree")
    yield from _model(world, "mine", f"upload:{UPLOAD}/mine.safetensors")
    yield from _tell(world, "delete model", client.DeleteModel(model_id=tree))
    assert len(list((world.folder / "models/trees").iterdir())) == 1, "its files stay"
    yield from _tell(world, "prune models", client.PruneModels())
    yield from _settle(world)


def an_engine_goes_with_its_jobs(world: World) -> Story:
    """A job is cancelled while it waits, others are made; the engine is stopped and deleted with all."""
    yield from _job(world, 1, InputKind.POSE)
    world.stage = "cancel"
    accepted = yield from _tell(
        world, "submit", client.SubmitJob(engine_id=ENGINE, request=JobRequest(width_px=64, height_px=64))
    )
    assert isinstance(accepted, client.JobAccepted)
    world.stage = "cancel"
    yield Tell(client.CancelJob(job_id=accepted.job_id))  # it may have ended already
    yield from _tell(world, "stop", client.StopEngine(engine_id=ENGINE))
    yield Until("the engine to close", lambda: world.rows("SELECT status FROM engine") == [("closed",)])
    yield from _ended(world, accepted.job_id)
    yield from _tell(world, "delete engine", client.DeleteEngine(engine_id=ENGINE))
    yield from _settle(world)
    assert world.rows("SELECT 1 FROM job UNION SELECT 1 FROM image UNION SELECT 1 FROM blob") == []


STORIES: Final = (
    a_job_with_pictures,
    a_picture_counted_out,
    everything_expires,
    a_model_comes_and_goes,
    a_folder_and_an_upload,
    an_engine_goes_with_its_jobs,
)
