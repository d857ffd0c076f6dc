"""Reads the database for the core: facts for events, and the snapshot at the start."""

from typing import Final

import apsw
from msgspec.structs import replace

from kernel.core.events import Facts, Prunable, Snapshot, StoredReply
from kernel.protocol import client
from kernel.protocol.enums import BlobKind, GoneReason, InputKind, JobState
from kernel.protocol.ids import BlobId, DeliveryId, Epoch, EventSeq, ImageId, JobId
from kernel.protocol.rows import DeliveryRow, ImageRow, JobRow, ScanRow
from kernel.protocol.specs import JobSpec
from kernel.protocol.webhooks import Redeliver
from kernel.shell import rowmap
from kernel.shell.file_thread import InputToRead
from kernel.shell.pruning import ALL, Pruning
from kernel.shell.storage_audit import ImageFiles
from kernel.views.named_sql import load_queries

DUE_AT_ONCE: Final = 200
"""Images, and blobs, that one transaction ends."""


class StateReader:
    """Reads on the writer's own connection, so it sees the open transaction."""

    def __init__(self, connection: apsw.Connection, quota_bytes: int | None = None) -> None:
        """`quota_bytes`: the disk space that images may take; None: no quota."""
        self._quota_bytes = quota_bytes
        self._sql = load_queries("kernel.shell", "store.sql")
        self._execute = connection.cursor().execute
        self._pruning = Pruning(connection)

    def _rows(self, name: str, values: rowmap.SqlRow = ()) -> list[rowmap.SqlRow]:
        return self._execute(self._sql[name], values).fetchall()

    def facts(self, key: str, ask: client.Ask) -> Facts:
        """The facts that the core lacks for a command: the stored reply, and the row that it is about."""
        stored = self._stored_reply(key)
        match ask:
            case client.ClaimDownload() | client.FinishDownload() | client.DeleteImage() | client.EditImage():
                return Facts(stored_reply=stored, image=self.image(ask.image_id))
            case client.DeleteImages(image_ids=image_ids):
                found = (self.image(image_id) for image_id in dict.fromkeys(image_ids))
                return Facts(stored_reply=stored, images=tuple(row for row in found if row is not None))
            case client.EditJob() | client.CancelJob() | client.DeleteJob():
                return Facts(stored_reply=stored, ended_job=self._job(ask.job_id))
            case Redeliver():
                return Facts(stored_reply=stored, delivery=self._delivery(ask.delivery_id))
            case _:
                return Facts(stored_reply=stored)

    def _stored_reply(self, key: str) -> StoredReply | None:
        for digest, reply in self._execute(self._sql["stored_reply"], (key,)):
            return StoredReply(digest, self._with_spec(rowmap.stored_reply(reply)))
        return None

    def _with_spec(self, reply: client.SingleReply) -> client.SingleReply:
        """The reply as it was given: that of a job is stored without what its row has."""
        if not isinstance(reply, client.JobAccepted):
            return reply
        row = self._job(reply.job_id)
        if row is None:
            return reply
        return replace(reply, engine_id=row.engine_id, spec=self.job_spec(reply.job_id))

    def image(self, image_id: ImageId) -> ImageRow | None:
        for row in self._rows("image", (image_id,)):
            return rowmap.image_row(row)
        return None

    def _job(self, job_id: JobId) -> JobRow | None:
        for row in self._rows("job", (job_id,)):
            return rowmap.job_row(row)
        return None

    def _delivery(self, delivery_id: DeliveryId) -> DeliveryRow | None:
        for row in self._rows("delivery", (delivery_id,)):
            return rowmap.delivery_row(row)
        return None

    def delivery_body(self, delivery_id: DeliveryId) -> str | None:
        """What a delivery sends; None, if it was deleted."""
        body: str | None = self._execute(self._sql["delivery_body"], (delivery_id,)).get
        return body

    def job_spec(self, job_id: JobId) -> JobSpec | None:
        """A job's spec; None, if the job was deleted."""
        text = self._execute(self._sql["job_spec"], (job_id,)).get
        return None if text is None else rowmap.job_spec(text)

    def input_files(self, job_id: JobId, kinds: tuple[InputKind, ...]) -> tuple[InputToRead, ...]:
        """The input images of a job, in this order; the name of a missing one is None."""
        found = {
            str(kind): (str(name), str(sha256)) for kind, name, sha256 in self._rows("input_files", (job_id,))
        }
        return tuple(InputToRead(kind, *found.get(kind, (None, ""))) for kind in kinds)

    def snapshot(self, epoch: Epoch) -> Snapshot:
        """The open part of the database, for a start."""
        open_jobs = [
            rowmap.job_row(row)
            for status in (JobState.WAITING, JobState.PROCESSING)
            for row in self._rows("open_jobs", (status,))
        ]
        stored: dict[str, set[int]] = {}
        for job_id, position in self._execute(self._sql["stored_positions"]):
            stored.setdefault(job_id, set()).add(position)
        blobs: dict[str, set[BlobKind]] = {}
        for job_id, kind in self._execute(self._sql["stored_blobs"]):
            blobs.setdefault(job_id, set()).add(BlobKind(kind))
        return Snapshot(
            epoch=epoch,
            models=tuple(map(rowmap.model_row, self._rows("models"))),
            engines=tuple(map(rowmap.engine_row, self._rows("engines"))),
            open_jobs=tuple(open_jobs),
            keys=tuple(map(rowmap.key_row, self._rows("keys"))),
            worker_tokens=tuple(map(rowmap.worker_token_row, self._rows("worker_tokens"))),
            key_uses=tuple(map(rowmap.key_use, self._rows("key_uses"))),
            webhooks=tuple(map(rowmap.webhook_row, self._rows("webhooks"))),
            deliveries=tuple(map(rowmap.delivery_row, self._rows("open_deliveries"))),
            presets=tuple(map(rowmap.preset_key, self._rows("presets"))),
            last_delivery_seq=self._number("last_delivery_seq"),
            stored_positions={job_id: frozenset(found) for job_id, found in stored.items()},
            stored_blobs={job_id: frozenset(kinds) for job_id, kinds in blobs.items()},
            last_change=EventSeq(self._number("last_change")),
            last_job_seq=self._number("last_job_seq"),
            scanned_files=tuple(map(rowmap.scanned_file, self._rows("scanned_files"))),
            scan=next(map(rowmap.scan_row, self._rows("scan")), ScanRow()),
            paused_since_ms=self._execute(self._sql["meta"], ("paused_since_ms",)).get or None,
        )

    def _number(self, name: str) -> int:
        return int(self._execute(self._sql[name]).get)

    def images_due(self, now_ms: int) -> tuple[tuple[ImageId, GoneReason], ...]:
        """Images that have expired, then the oldest ones beyond the quota; at most DUE_AT_ONCE."""
        everything = client.PruneImages(keep_bytes=self._quota_bytes)
        return self._pruning.due(everything, now_ms, DUE_AT_ONCE).images

    def prunable(self, ask: client.PruneImages, now_ms: int, there: frozenset[str] | None = None) -> Prunable:
        """The images that PruneImages selects: counted, for a dry run, else as many as can be ended at once.

        `there` are the names of the files in the images folder; None: not checked.
        """
        if ask.dry_run and there is None:
            return self._pruning.counted(ask, now_ms)
        return self._pruning.due(ask, now_ms, ALL if ask.dry_run else DUE_AT_ONCE, there)

    def blobs_due(self, now_ms: int) -> tuple[BlobId, ...]:
        """Expired blobs; at most DUE_AT_ONCE."""
        return tuple(
            BlobId(blob_id) for (blob_id,) in self._execute(self._sql["expired_blobs"], (now_ms, DUE_AT_ONCE))
        )

    def image_files(self) -> ImageFiles:
        """The files of all images that are present or lost."""
        kept = self._execute(self._sql["kept_images"], (None,))
        kept_ids = {name: ImageId(image_id) for name, image_id, _ in kept}
        lost = self._execute(self._sql["lost_images"])
        return ImageFiles(kept_ids, {name: (ImageId(image_id), size) for name, image_id, size in lost})

    def kept_blobs(self) -> frozenset[str]:
        """The names of all blobs' files."""
        return frozenset(name for (name,) in self._execute(self._sql["kept_blobs"]))

    def trash(self, most: int) -> list[str]:
        """Files to remove, as `folder/name`."""
        return [str(name) for (name,) in self._execute(self._sql["trash"], (most,))]
