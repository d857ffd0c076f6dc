"""The database, written by this process alone: the saves of a batch are one transaction.

WAL with synchronous=FULL: when `commit` returns, the batch survives a power cut, and only then may replies
leave (adr/0002). Reads never block the writer, so the API reads the same file on connections of its own
(adr/0013). If a commit fails, memory is ahead of the disk, so the Manager ends instead of going on.
Checkpoints are kept small, because each one runs inside a commit that others wait for (adr/0033). Deleted
rows leave their file names in the table `trash` in the same transaction, so that a crash between commit and
removal loses no file name. `migrate` applies numbered steps, each in its own transaction with the new schema
number.
"""

import logging
import re
import secrets
import zlib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Final, assert_never

import apsw
from msgspec.structs import asdict, astuple

from kernel.core import actions
from kernel.core.ports import Folder
from kernel.process.log import line
from kernel.protocol.enums import GoneReason
from kernel.protocol.errors import DatabaseUnusable
from kernel.protocol.ids import Epoch
from kernel.protocol.rows import JobRow
from kernel.protocol.specs import JobSpec
from kernel.protocol.version import OLDEST_SQLITE, VERSION
from kernel.shell import rowmap
from kernel.shell.files import NUMBER_BITS
from kernel.views.named_sql import load_queries

BUSY_TIMEOUT_MS: Final = 5_000
CHECKPOINT_PAGES: Final = 400
"""Pages of the write-ahead log before a checkpoint moves them into the database: others wait for it
(adr/0033)."""

log: Final = logging.getLogger("manager")
_FILE_NAME: Final = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")


def check_sqlite_version(found: str) -> None:
    """Raises: DatabaseUnusable, if this SQLite is too old."""
    if _parts(found) < _parts(OLDEST_SQLITE):
        raise DatabaseUnusable(
            f"SQLite {found} is too old; {OLDEST_SQLITE} or newer is required: pip install --upgrade apsw"
        )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


class Store:
    """One connection, used from one thread."""

    def __init__(self, file: Path) -> None:
        """Open or create the database, check it, and migrate it to the current schema.

        Raises: DatabaseUnusable.
        """
        check_sqlite_version(apsw.sqlite_lib_version())
        self._sql = load_queries("kernel.shell", "store.sql")
        try:
            self.connection = apsw.Connection(str(file))
            self._prepare(file)
        except apsw.NotADBError as error:
            raise DatabaseUnusable(
                f"{file} is not an SQLite database: restore a backup with `spoon db restore`, or move the "
                "file away to start with an empty database"
            ) from error
        except apsw.Error as error:
            raise DatabaseUnusable(f"{file}: {error}") from error
        self._execute = self.connection.cursor().execute

    def _prepare(self, file: Path) -> None:
        self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", "full")
        self.connection.wal_autocheckpoint(CHECKPOINT_PAGES)
        verdict = self.connection.pragma("quick_check")
        if verdict != "ok":
            raise DatabaseUnusable(f"{file} is damaged ({verdict}): restore a backup with `spoon db restore`")
        migrate(self.connection)
        self._look_after_counts()
        self._look_after_keys()

    def _look_after_counts(self) -> None:
        """Recount if needed: triggers keep the counts, but a file that was repaired by hand may have bypassed
        them."""
        if self.connection.execute(self._sql["is_miscounted"]).get:
            log.warning(line("counted_anew"))
            with self.connection:
                self.connection.execute(self._sql["count_anew"])

    def _look_after_keys(self) -> None:
        """After an upgrade, an idempotency key alone finds its answer: the other version may have encoded the
        same request in another way, so digests of before cannot be compared."""
        version = zlib.crc32(VERSION.encode())
        if self.connection.execute(self._sql["meta"], ("version",)).get != version:
            with self.connection:
                self.connection.execute(self._sql["forget_digests"])
                self.connection.execute(self._sql["set_meta"], ("version", version))

    def next_epoch(self) -> Epoch:
        """Count this start of the Manager."""
        with self.connection:
            epoch = Epoch((self._execute(self._sql["meta"], ("epoch",)).get or 0) + 1)
            self._run("set_meta", ("epoch", epoch))
        return epoch

    def installation(self) -> int:
        """The random number that identifies this database; drawn at the first start."""
        with self.connection:
            found: int | None = self._execute(self._sql["meta"], ("installation",)).get
            number = secrets.randbits(NUMBER_BITS) if found is None else found
            self._run("set_meta", ("installation", number))
        return number

    def is_images_folder(self, number: int) -> bool:
        """True if the images are in the folder with this number."""
        found: int | None = self._execute(self._sql["meta"], ("images_folder",)).get
        return found == number

    def remember_images_folder(self, number: int) -> None:
        """Remember the number of the folder with the images."""
        with self.connection:
            self._run("set_meta", ("images_folder", number))

    def access(self) -> int | None:
        """The access mode that was last set: 0 for private, 1 for images that their group may read."""
        found: int | None = self._execute(self._sql["meta"], ("access",)).get
        return found

    def remember_access(self, access: int) -> None:
        """Remember the access mode that was set."""
        with self.connection:
            self._run("set_meta", ("access", access))

    def forget_trash(self, file_names: Iterable[str]) -> None:
        """Remove deleted files from the trash table, in a transaction of their own."""
        with self.connection:
            for file_name in file_names:
                self._run("forget_trash", (file_name,))

    def close(self) -> None:
        self.connection.close()

    def commit(self) -> None:
        """Make the batch durable: when this returns, it survives a power cut (synchronous=FULL)."""
        if self.connection.in_transaction:
            self._execute("COMMIT")

    def roll_back(self) -> None:
        """Undo the batch, unless it is committed."""
        if self.connection.in_transaction:
            self._execute("ROLLBACK")

    def save(self, save: actions.Save) -> None:
        """Put one save into the batch's transaction; the first one opens it."""
        if not self.connection.in_transaction:
            self._execute("BEGIN IMMEDIATE")
        match save:
            case actions.RecordChange(row):
                self._run("record_change", (row.seq, row.kind, row.id, row.state, row.at_ms, row.key_id))
            case actions.SaveReply(key, digest, reply, at_ms):
                self._run("save_reply", (key, digest, rowmap.reply_to_store(reply), at_ms))
            case actions.SavePause(since_ms):
                self._run("set_meta", ("paused_since_ms", since_ms or 0))
            case actions.SaveKey(row):
                self._run("save_key", rowmap.key_bindings(row))
            case actions.SaveWorkerToken(row):
                self._run("save_worker_token", asdict(row))
            case actions.SaveKeyUse(row, first_hour):
                self._run("save_key_use", astuple(row))
                self._run("forget_key_use", (row.key_id, first_hour))
            case actions.AddJob(row, spec):
                self._add_job(row, spec)
            case actions.SaveJob(row):
                self._save_job(row)
            case actions.AddImage() | actions.CountDownload() | actions.EndImage() | actions.RestoreImage():
                self._save_image(save)
            case actions.EditImage(image_id, tags, favorite, note):
                as_json = None if tags is None else rowmap.to_json(tags)
                self._run("edit_image", (as_json, favorite, note, image_id))
            case actions.AddBlob() | actions.ExpireBlobs() | actions.DropBlob() | actions.TrashFile():
                self._save_blob(save)
            case actions.SaveModel() | actions.DropModel() | actions.NoteModel() | actions.SaveEngine():
                self._save_setup(save)
            case actions.SaveScannedFile() | actions.DropScannedFile() | actions.SaveScan():
                self._save_scan(save)
            case actions.SavePreset() | actions.DropPreset():
                self._save_preset(save)
            case actions.DropEngine() | actions.DropJob() | actions.ForgetOld():
                self._drop(save)
            case _:
                self._save_callback(save)

    def _run(self, name: str, values: rowmap.SqlRow | rowmap.Bindings = ()) -> None:
        self._execute(self._sql[name], values)

    def _add_job(self, row: JobRow, spec: JobSpec) -> None:
        columns = (row.seq, row.job_id, row.engine_id, row.status, row.priority, rowmap.to_json(spec))
        more = (rowmap.to_json(row.image_ids), row.attempts, row.crashes, "[]", row.created_at_ms)
        callback = None if row.callback is None else rowmap.to_json(row.callback)
        models = (rowmap.to_json(row.models), row.checkpoint, row.names_checkpoint, row.key_id, callback)
        self._run("add_job", (*columns, *more, *models))

    def _save_job(self, row: JobRow) -> None:
        warnings = rowmap.to_json(row.warnings)
        columns = (row.status, row.priority, row.attempts, row.crashes, row.error_code, row.error, warnings)
        self._run(
            "save_job",
            (*columns, row.started_at_ms, row.finished_at_ms, row.checkpoint, row.lease, row.job_id),
        )

    def _save_image(
        self, save: actions.AddImage | actions.CountDownload | actions.EndImage | actions.RestoreImage
    ) -> None:
        match save:
            case actions.AddImage(row):
                self._run("add_image", rowmap.image_values(row))
            case actions.CountDownload(image_id):
                self._run("count_download", (image_id,))
            case actions.EndImage(image_id, reason, at_ms):
                if reason is not GoneReason.LOST:  # its file may come back
                    self._run("trash_image", {"image_id": image_id, "at_ms": at_ms})
                self._run("end_image", {"image_id": image_id, "reason": reason, "at_ms": at_ms})
            case actions.RestoreImage(image_id):
                self._run("restore_image", (image_id,))
            case _:
                assert_never(save)

    def _save_blob(
        self, save: actions.AddBlob | actions.ExpireBlobs | actions.DropBlob | actions.TrashFile
    ) -> None:
        match save:
            case actions.AddBlob(row):
                self._run("add_blob", rowmap.blob_values(row))
            case actions.ExpireBlobs(job_id, expires_at_ms):
                self._run("expire_blobs", (expires_at_ms, job_id))
            case actions.DropBlob(blob_id, at_ms):
                self._run("trash_blob", {"blob_id": blob_id, "at_ms": at_ms})
                self._run("drop_blob", (blob_id,))
            case actions.TrashFile(folder, file_name, at_ms):
                self._run("trash_file", (f"{folder}/{file_name}", at_ms))
            case _:
                assert_never(save)

    def _save_setup(
        self, save: actions.SaveModel | actions.DropModel | actions.NoteModel | actions.SaveEngine
    ) -> None:
        match save:
            case actions.SaveModel(row):
                self._run("save_model", rowmap.model_bindings(row))
            case actions.NoteModel(row):
                self._run("save_model", rowmap.model_bindings(row))
                if row.stored is not None:
                    self._run("restore_file", (f"{Folder.MODELS}/{row.stored}",))
            case actions.DropModel(model_id):
                self._run("drop_model", (model_id,))
            case actions.SaveEngine(row):
                self._run("save_engine", rowmap.engine_bindings(row))
            case _:
                assert_never(save)

    def _save_scan(self, save: actions.SaveScannedFile | actions.DropScannedFile | actions.SaveScan) -> None:
        match save:
            case actions.SaveScannedFile(row):
                self._run("save_scanned_file", astuple(row))
            case actions.DropScannedFile(path):
                self._run("drop_scanned_file", (path,))
            case actions.SaveScan(row):
                self._run("save_scan", rowmap.scan_bindings(row))
            case _:
                assert_never(save)

    def _save_preset(self, save: actions.SavePreset | actions.DropPreset) -> None:
        match save:
            case actions.SavePreset(row):
                self._run("save_preset", asdict(row))
            case actions.DropPreset(key_id, name):
                self._run("drop_preset", (key_id, name))
            case _:
                assert_never(save)

    def _save_callback(self, save: actions.CallbackSave) -> None:
        match save:
            case actions.AddDelivery(row, body):
                self._run("add_delivery", asdict(row) | {"body": body})
            case actions.SaveDelivery(row):
                self._run("save_delivery", asdict(row))
            case actions.SaveWebhook(row):
                self._run("save_webhook", rowmap.webhook_bindings(row))
            case actions.DropWebhook(webhook_id):
                self._run("drop_deliveries_of_webhook", (webhook_id,))
                self._run("drop_webhook", (webhook_id,))
            case actions.ForgetDeliveries(before_ms, kept):
                self._run("forget_deliveries", (before_ms,))
                self._run("forget_more_deliveries", (kept,))
            case _:
                assert_never(save)

    def _drop(self, save: actions.DropEngine | actions.DropJob | actions.ForgetOld) -> None:
        match save:
            case actions.DropEngine():
                self._drop_engine(save)
            case actions.DropJob(job_id, at_ms):
                for things in ("images", "blobs"):
                    self._run(f"trash_{things}_of_job", {"job_id": job_id, "at_ms": at_ms})
                    self._run(f"drop_{things}_of_job", (job_id,))
                self._run("drop_job", (job_id,))
            case actions.ForgetOld(before_ms, kept):
                self._run("forget_replies", (before_ms,))
                self._run("forget_changes", (kept,))
            case _:
                assert_never(save)

    def _drop_engine(self, drop: actions.DropEngine) -> None:
        """First its images, unless they are kept; then the jobs that have none."""
        known: rowmap.Bindings = {"engine_id": drop.engine_id, "at_ms": drop.at_ms}
        if drop.keeps_images:
            self._run("keep_name_of_engine", known)
        else:
            self._run("trash_images_of_engine", known)
            self._run("drop_images_of_engine", (drop.engine_id,))
            self._run("drop_gone_images_of_engine", (drop.engine_id,))
        self._run("trash_blobs_of_engine", known)
        for things in ("blobs", "jobs"):
            self._run(f"drop_{things}_of_engine", (drop.engine_id,))
        self._run("drop_engine", (drop.engine_id,))


def migrations() -> dict[int, str]:
    """Every migration by its number, from 1 without a gap."""
    found = {
        int(match["number"]): entry.read_text(encoding="utf-8")
        for entry in resources.files("kernel.shell").joinpath("migrations").iterdir()
        if (match := _FILE_NAME.fullmatch(entry.name))
    }
    return dict(sorted(found.items()))


def migrate(connection: apsw.Connection) -> int:
    """Apply the missing migrations, each in a transaction of its own with its number.

    Returns: the schema number (PRAGMA user_version).
    Raises: DatabaseUnusable, if the database was made by a newer version of this software.
    """
    present = int(connection.pragma("user_version"))
    known = migrations()
    if present > len(known):
        raise DatabaseUnusable(
            f"the database has schema {present}, but this version supports {len(known)}: upgrade"
        )
    for number in range(present + 1, len(known) + 1):
        with connection:
            connection.execute(known[number])
            connection.pragma("user_version", number)
    return len(known)
