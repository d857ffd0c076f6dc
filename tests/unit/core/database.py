"""The database as dictionaries: as strict as the real one about keys, and stricter about moves."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, assert_never

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.actions import Save
from kernel.core.events import Facts, Snapshot, StoredReply
from kernel.core.state.tables import (
    DELIVERY_MOVES,
    ENGINE_MOVES,
    JOB_MOVES,
    MODEL_MOVES,
    OPEN_DELIVERY_STATES,
    OPEN_JOB_STATES,
    check_move,
)
from kernel.protocol import client
from kernel.protocol.enums import BlobKind, GoneReason, ModelState
from kernel.protocol.ids import (
    BlobId,
    DeliveryId,
    EngineId,
    Epoch,
    EventSeq,
    ImageId,
    JobId,
    KeyId,
    ModelId,
    TokenId,
    WebhookId,
)
from kernel.protocol.rows import (
    BlobRow,
    ChangeRow,
    DeliveryRow,
    EngineRow,
    ImageRow,
    JobRow,
    KeyRow,
    KeyUseRow,
    ModelRow,
    PresetRow,
    ScannedFile,
    ScanRow,
    WebhookRow,
    WorkerTokenRow,
)
from kernel.protocol.specs import JobSpec
from kernel.protocol.webhooks import Redeliver

State = TypeVar("State", bound=StrEnum)


@dataclass
class Database:
    """All that survives the Manager."""

    models: dict[ModelId, ModelRow] = field(default_factory=dict)
    engines: dict[EngineId, EngineRow] = field(default_factory=dict)
    jobs: dict[JobId, JobRow] = field(default_factory=dict)
    specs: dict[JobId, JobSpec] = field(default_factory=dict)
    images: dict[ImageId, ImageRow] = field(default_factory=dict)
    blobs: dict[BlobId, BlobRow] = field(default_factory=dict)
    keys: dict[KeyId, KeyRow] = field(default_factory=dict)
    worker_tokens: dict[TokenId, WorkerTokenRow] = field(default_factory=dict)
    key_uses: dict[tuple[KeyId, int], KeyUseRow] = field(default_factory=dict)
    webhooks: dict[WebhookId, WebhookRow] = field(default_factory=dict)
    presets: dict[tuple[KeyId | None, str], PresetRow] = field(default_factory=dict)
    deliveries: dict[DeliveryId, DeliveryRow] = field(default_factory=dict)
    bodies: dict[DeliveryId, str] = field(default_factory=dict)
    replies: dict[str, StoredReply] = field(default_factory=dict)
    changes: list[ChangeRow] = field(default_factory=list)
    trash: list[str] = field(default_factory=list)
    forgets: list[actions.ForgetOld] = field(default_factory=list)
    edits: list[actions.EditImage] = field(default_factory=list)
    paused_since_ms: int | None = None
    scanned_files: dict[str, ScannedFile] = field(default_factory=dict)
    scan: ScanRow = ScanRow()
    epoch: int = 0

    def copy(self) -> "Database":
        """What a crash would leave behind now."""
        return deepcopy(self)

    def snapshot(self) -> Snapshot:
        """What the next start of the Manager finds."""
        self.epoch += 1
        open_jobs = [row for row in self.jobs.values() if row.status in OPEN_JOB_STATES]
        stored: dict[str, set[int]] = {}
        for image in self.images.values():
            stored.setdefault(image.job_id, set()).add(image.position)
        return Snapshot(
            epoch=Epoch(self.epoch),
            models=tuple(self.models.values()),
            engines=tuple(self.engines.values()),
            open_jobs=tuple(sorted(open_jobs, key=lambda row: row.seq)),
            stored_blobs={row.job_id: self.blob_kinds(row.job_id) for row in open_jobs},
            stored_positions={row.job_id: frozenset(stored.get(row.job_id, ())) for row in open_jobs},
            last_change=self.changes[-1].seq if self.changes else EventSeq(0),
            last_job_seq=max((row.seq for row in self.jobs.values()), default=0),
            paused_since_ms=self.paused_since_ms,
            scanned_files=tuple(self.scanned_files.values()),
            scan=self.scan,
            keys=tuple(self.keys.values()),
            worker_tokens=tuple(self.worker_tokens.values()),
            key_uses=tuple(self.key_uses.values()),
            presets=tuple(self.presets),
            webhooks=tuple(self.webhooks.values()),
            deliveries=tuple(sorted(self.open_deliveries(), key=lambda row: row.seq)),
            last_delivery_seq=max((row.seq for row in self.deliveries.values()), default=0),
        )

    def open_deliveries(self) -> list[DeliveryRow]:
        """What is to be sent."""
        return [row for row in self.deliveries.values() if row.status in OPEN_DELIVERY_STATES]

    def blob_kinds(self, job_id: JobId) -> frozenset[BlobKind]:
        """What there is of a job beside its images."""
        return frozenset(blob.kind for blob in self.blobs.values() if blob.job_id == job_id)

    def facts(self, key: str, ask: client.Ask) -> Facts:
        """What the shell tells the core about a command."""
        reply = self.replies.get(key)
        match ask:
            case client.ClaimDownload() | client.FinishDownload() | client.DeleteImage() | client.EditImage():
                return Facts(stored_reply=reply, image=self.images.get(ask.image_id))
            case client.DeleteImages(image_ids=ids):
                found = (self.images.get(image_id) for image_id in dict.fromkeys(ids))
                return Facts(stored_reply=reply, images=tuple(row for row in found if row is not None))
            case client.EditJob() | client.CancelJob() | client.DeleteJob():
                return Facts(stored_reply=reply, ended_job=self.jobs.get(ask.job_id))
            case Redeliver():
                return Facts(stored_reply=reply, delivery=self.deliveries.get(ask.delivery_id))
            case _:
                return Facts(stored_reply=reply)

    def apply(self, save: Save) -> None:
        """Carry out one save."""
        match save:
            case actions.SaveModel() | actions.DropModel() | actions.NoteModel():
                self._apply_model(save)
            case actions.SaveEngine() | actions.DropEngine():
                self._apply_engine(save)
            case actions.AddJob() | actions.SaveJob() | actions.DropJob():
                self._apply_job(save)
            case actions.AddImage() | actions.CountDownload() | actions.EndImage() | actions.RestoreImage():
                self._apply_image(save)
            case actions.EditImage():
                assert save.image_id in self.images
                self.edits.append(save)
            case actions.AddBlob() | actions.ExpireBlobs() | actions.DropBlob():
                self._apply_blob(save)
            case actions.SaveWorkerToken(row):
                self.worker_tokens[row.token_id] = row
            case actions.SaveKey(row):
                self.keys[row.key_id] = row
                names = [key.name for key in self.keys.values() if key.revoked_at_ms is None]
                assert len(names) == len(set(names)), "names of keys that are in use are unique"
            case actions.SaveKeyUse(row, first_hour):
                self.key_uses[row.key_id, row.hour] = row
                for key_id, hour in tuple(self.key_uses):
                    if key_id == row.key_id and hour < first_hour:
                        del self.key_uses[key_id, hour]
            case actions.SavePreset(row):
                self.presets[row.key_id, row.name] = row
            case actions.DropPreset(key_id, name):
                del self.presets[key_id, name]
            case (
                actions.AddDelivery()
                | actions.SaveDelivery()
                | actions.SaveWebhook()
                | actions.DropWebhook()
                | actions.ForgetDeliveries()
            ):
                self._apply_callback(save)
            case actions.SavePause(since_ms):
                self.paused_since_ms = since_ms
            case actions.SaveScannedFile(row):
                self.scanned_files[row.path] = row
            case actions.DropScannedFile(path):
                del self.scanned_files[path]
            case actions.SaveScan(row):
                self.scan = row
            case actions.TrashFile():
                self.trash.append(save.file_name)
            case actions.SaveReply():
                assert save.key not in self.replies, "a command is answered once"
                self.replies[save.key] = StoredReply(save.digest, save.reply)
            case actions.RecordChange(row):
                assert not self.changes or row.seq == self.changes[-1].seq + 1, "changes are numbered"
                self.changes.append(row)
            case actions.ForgetOld():
                self.forgets.append(save)
            case _:
                assert_never(save)

    def _apply_callback(self, save: actions.CallbackSave) -> None:
        match save:
            case actions.AddDelivery(row, body):
                assert row.delivery_id not in self.deliveries
                assert row.seq > max((one.seq for one in self.deliveries.values()), default=0)
                self.deliveries[row.delivery_id], self.bodies[row.delivery_id] = row, body
            case actions.SaveDelivery(row):
                check_move(DELIVERY_MOVES, self.deliveries[row.delivery_id].status, row.status)
                self.deliveries[row.delivery_id] = row
            case actions.SaveWebhook(row):
                self.webhooks[row.webhook_id] = row
            case actions.DropWebhook(webhook_id):
                del self.webhooks[webhook_id]
                kept = {key: one for key, one in self.deliveries.items() if one.webhook_id != webhook_id}
                self.deliveries = kept
            case actions.ForgetDeliveries():
                pass
            case _:
                assert_never(save)

    def _apply_model(self, save: actions.SaveModel | actions.DropModel | actions.NoteModel) -> None:
        match save:
            case actions.NoteModel(row):
                assert self.models[row.model_id].status is row.status is not ModelState.ERROR
                self.models[row.model_id] = row
                self.trash = [name for name in self.trash if name != row.stored]
            case actions.SaveModel(row):
                if row.model_id in self.models:
                    _check_or_same(MODEL_MOVES, self.models[row.model_id].status, row.status)
                self.models[row.model_id] = row
            case actions.DropModel(model_id):
                del self.models[model_id]

    def _apply_engine(self, save: actions.SaveEngine | actions.DropEngine) -> None:
        match save:
            case actions.SaveEngine(row):
                if row.engine_id in self.engines:
                    _check_or_same(ENGINE_MOVES, self.engines[row.engine_id].status, row.status)
                self.engines[row.engine_id] = row
                names = [e.name for e in self.engines.values() if e.name is not None]
                assert len(names) == len(set(names)), "names are unique"
            case actions.DropEngine(engine_id, _, keeps_images):
                del self.engines[engine_id]
                kept = {i.job_id for i in self.images.values() if keeps_images}
                for job in [j for j in self.jobs.values() if j.engine_id == engine_id]:
                    if job.job_id in kept:
                        assert job.status not in OPEN_JOB_STATES, "nobody would ever give it out"
                    else:
                        self._drop_job(job.job_id)

    def _apply_job(self, save: actions.AddJob | actions.SaveJob | actions.DropJob) -> None:
        match save:
            case actions.AddJob(row, spec):
                assert row.job_id not in self.jobs
                assert all(row.seq != other.seq for other in self.jobs.values())
                self.jobs[row.job_id], self.specs[row.job_id] = row, spec
            case actions.SaveJob(row):
                _check_or_same(JOB_MOVES, self.jobs[row.job_id].status, row.status)
                self.jobs[row.job_id] = row
            case actions.DropJob(job_id):
                assert self.jobs[job_id].status not in OPEN_JOB_STATES
                self._drop_job(job_id)

    def _drop_job(self, job_id: JobId) -> None:
        del self.jobs[job_id], self.specs[job_id]
        for image in [i for i in self.images.values() if i.job_id == job_id]:
            del self.images[image.image_id]
            self.trash.append(image.file_name)
        for blob in [b for b in self.blobs.values() if b.job_id == job_id]:
            self._drop_blob(blob.blob_id)

    def _apply_blob(self, save: actions.AddBlob | actions.ExpireBlobs | actions.DropBlob) -> None:
        match save:
            case actions.AddBlob(row):
                assert row.blob_id not in self.blobs
                assert self.jobs[row.job_id].status in OPEN_JOB_STATES
                kinds = {blob.kind for blob in self.blobs.values() if blob.job_id == row.job_id}
                assert row.kind not in kinds, "a job has one blob of a kind"
                self.blobs[row.blob_id] = row
            case actions.ExpireBlobs(job_id, expires_at_ms):
                for blob in [b for b in self.blobs.values() if b.job_id == job_id]:
                    assert blob.expires_at_ms is None, "a job ends once"
                    self.blobs[blob.blob_id] = replace(blob, expires_at_ms=expires_at_ms)
            case actions.DropBlob(blob_id):
                assert self.blobs[blob_id].expires_at_ms is not None, "an open job keeps its blobs"
                self._drop_blob(blob_id)

    def _drop_blob(self, blob_id: BlobId) -> None:
        self.trash.append(self.blobs.pop(blob_id).file_name)

    def _apply_image(
        self, save: actions.AddImage | actions.CountDownload | actions.EndImage | actions.RestoreImage
    ) -> None:
        match save:
            case actions.AddImage(row):
                assert row.image_id not in self.images
                assert self.jobs[row.job_id].status in OPEN_JOB_STATES
                self.images[row.image_id] = row
            case actions.CountDownload(image_id):
                row = self.images[image_id]
                self.images[image_id] = replace(row, downloads=row.downloads + 1)
            case actions.EndImage(image_id, reason, at_ms):
                row = self.images[image_id]
                assert row.gone_reason in (None, GoneReason.LOST), "an image goes once"
                assert row.gone_reason is not reason
                self.images[image_id] = replace(row, gone_reason=reason, gone_at_ms=at_ms)
                if reason is not GoneReason.LOST:
                    self.trash.append(row.file_name)
            case actions.RestoreImage(image_id):
                row = self.images[image_id]
                assert row.gone_reason is GoneReason.LOST, "only what is lost comes back"
                self.images[image_id] = replace(row, gone_reason=None, gone_at_ms=None)


def _check_or_same(moves: Mapping[State, frozenset[State]], old: State, new: State) -> None:
    if new is not old:
        _check(moves, old, new)


def _check(moves: Mapping[State, frozenset[State]], old: State, new: State) -> None:
    assert new in moves[old], f"{old} -> {new} is not in the table"
