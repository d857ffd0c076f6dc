"""A database with the real schema, filled by hand."""

from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import apsw
import msgspec

from kernel.protocol.enums import Scheduler
from kernel.protocol.ids import ModelId
from kernel.protocol.specs import EngineSpec, JobSpec

MIGRATIONS = Path(__file__).parents[3] / "kernel" / "shell" / "migrations"

SPEC = JobSpec(
    prompt="a cat",
    negative_prompt="a dog",
    seed=0,
    count=1,
    steps=20,
    guidance_scale=7.5,
    width_px=512,
    height_px=768,
    scheduler=Scheduler.EULER,
)


class SampleDatabase:
    """Inserts rows; what a test does not say has a harmless value."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.exists():
            file.write_bytes(_empty())
        self.connection = apsw.Connection(str(file))
        self.connection.pragma("synchronous", "off")
        self.connection.pragma("journal_mode", "wal")

    def close(self) -> None:
        self.connection.close()

    def add_model(self, model_id: str, **values: Any) -> None:
        self._insert(
            "model",
            {
                "model_id": model_id,
                "name": "a model",
                "uri": "file:///models/a.safetensors",
                "status": "ready",
                "model_type": "checkpoint",
                "model_base": "sd",
                "tags": "[]",
                "trigger_words": "[]",
                "created_at_ms": 1_000,
            }
            | values,
        )

    def add_webhook(self, webhook_id: str, **values: Any) -> None:
        known = {
            "url": "https://a.example",
            "events": '["job.finished"]',
            "created_at_ms": 1,
            "generation": 1,
        }
        self._insert("webhook", {"webhook_id": webhook_id} | known | values)

    def add_preset(self, name: str, key_id: str | None = None, fields: str = "{}") -> None:
        times = {"created_at_ms": 1, "changed_at_ms": 2}
        self._insert("preset", {"name": name, "key_id": key_id, "fields": fields} | times)

    def add_worker_token(self, token_id: str, pool: str = "lab") -> None:
        known = {"token_id": token_id, "pool": pool, "digest": "", "created_at_ms": 1}
        self._insert("worker_token", known)

    def add_delivery(self, seq: int, delivery_id: str, **values: Any) -> None:
        times = {"created_at_ms": 1, "since_ms": 1, "ended_at_ms": 2, "attempts": 1}
        known = {"event": "job.finished", "url": "https://a.example", "status": "delivered", "body": "{}"}
        self._insert("delivery", {"seq": seq, "delivery_id": delivery_id} | times | known | values)

    def add_key(self, key_id: str, name: str, role: str = "user", **values: Any) -> None:
        self._insert(
            "api_key",
            {
                "key_id": key_id,
                "name": name,
                "role": role,
                "digest": "0" * 64,
                "created_at_ms": 1_000,
                "issued_at_ms": 1_000,
                "weight": 1,
                "limits": '{"max_pixels": 9}',
            }
            | values,
        )

    def add_scan(self, **values: Any) -> None:
        counts = dict.fromkeys(("files", "to_read", "read", "added", "changed", "moved", "gone"), 0)
        self._insert("scan", {"one": 1, "began_at_ms": 1_000, "absent": "[]"} | counts | values)

    def add_scanned_file(self, path: str, code: str | None = None, reason: str | None = None) -> None:
        self._insert("scanned_file", {"path": path, "stamp": 1, "mark": "", "code": code, "reason": reason})

    def add_engine(
        self, engine_id: str, name: str | None = None, engine_spec: EngineSpec | None = None, **values: Any
    ) -> None:
        spec = engine_spec or EngineSpec(name=name, checkpoint=ModelId("m1"))
        self._insert(
            "engine",
            {
                "engine_id": engine_id,
                "name": name,
                "spec": _json(spec),
                "status": "closed",
                "created_at_ms": 1_000,
            }
            | values,
        )

    def add_former_engine(self, engine_id: str, name: str) -> None:
        self._insert("former_engine", {"engine_id": engine_id, "name": name, "deleted_at_ms": 2_000})

    def add_job(self, seq: int, job_id: str | None = None, spec: JobSpec = SPEC, **values: Any) -> None:
        row = {
            "seq": seq,
            "job_id": job_id or f"j{seq}",
            "engine_id": "e1",
            "status": "waiting",
            "priority": 0,
            "spec": _json(spec),
            "image_ids": _json([f"i{seq}"]),
            "attempts": 0,
            "crashes": 0,
            "warnings": "[]",
            "created_at_ms": 1_000 + seq,
        } | values
        self._insert("job", row)
        for status in ("waiting" if row["status"] != "waiting" else "processing", row["status"]):
            self.connection.execute("UPDATE job SET status = ? WHERE seq = ?", (status, seq))  # it is indexed

    def add_image(self, image_id: str, job_id: str, **values: Any) -> None:
        self._insert(
            "image",
            {
                "image_id": image_id,
                "job_id": job_id,
                "engine_id": "e1",
                "position": self._images_of(job_id),
                "file_name": f"{image_id}.png",
                "mime": "image/png",
                "width_px": 512,
                "height_px": 768,
                "size_bytes": 10,
                "sha256": "5" * 64,
                "seed": 0,
                "downloads": 0,
                "created_at_ms": 2_000,
                "checkpoint": "m1",
            }
            | values,
        )

    def add_blob(self, job_id: str, kind: str, **values: Any) -> None:
        self._insert(
            "blob",
            {
                "blob_id": f"{job_id}-{kind}",
                "job_id": job_id,
                "kind": kind,
                "file_name": f"{job_id}-{kind}.png",
                "mime": "image/png",
                "size_bytes": 10,
                "sha256": "6" * 64,
                "created_at_ms": 1_000,
            }
            | values,
        )

    def add_event(self, seq: int, kind: str, thing_id: str, state: str, key_id: str | None = None) -> None:
        at_ms = 5_000 + seq
        values = {"seq": seq, "kind": kind, "id": thing_id, "state": state, "at_ms": at_ms, "key_id": key_id}
        self._insert("event", values)

    def set(self, table: str, key: str, thing_id: str, **values: Any) -> None:
        columns = ", ".join(f"{name} = :{name}" for name in values)
        self.connection.execute(
            f"UPDATE {table} SET {columns} WHERE {key} = :thing_id", {**values, "thing_id": thing_id}
        )

    def _images_of(self, job_id: str) -> int:
        found: int = self.connection.execute("SELECT count(*) FROM image WHERE job_id = ?", (job_id,)).get
        return found

    def _insert(self, table: str, values: dict[str, Any]) -> None:
        names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)


@cache
def _empty() -> bytes:
    """A database without rows. Hundreds of tests want one, and migrating takes longer than most of them."""
    with closing(apsw.Connection(":memory:")) as connection:
        for migration in sorted(MIGRATIONS.glob("*.sql")):
            connection.execute(migration.read_text())
        return connection.serialize("main")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
