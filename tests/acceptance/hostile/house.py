"""A server with API keys of all kinds, and with something of alice's that others would like to have."""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from kernel.protocol.api_keys import CreateKey, KeyIssued, digest_of
from kernel.protocol.enums import JobState, Role
from kernel.protocol.ids import JobId
from tests.acceptance.hostile.exchange import Door
from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.receiver import Receiver
from tests.acceptance.server import Server

BRIEF_S: Final = 2.0
"""How long the key that expires is valid: long enough to sign in with it."""


@dataclass
class House:
    """The server, the keys by the names of their holders, and alice's ids by the variables of paths."""

    server: Server
    door: Door
    keys: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    link: str = ""
    secrets: set[str] = field(default_factory=set)
    """What no answer, no log and no command line may contain."""

    def ask(self, method: str, path: str, name: str, body: object = None) -> Any:
        """What the API answers to the holder of a key."""
        url = f"http://127.0.0.1:{self.server.port}{path}"
        headers = {"Authorization": f"Bearer {self.keys[name]}"}
        answer = httpx.request(method, url, headers=headers, json=body, timeout=PATIENCE_S, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def keep(self, name: str, text: str) -> None:
        self.keys[name] = text
        self.secrets |= {text.rpartition("_")[2], digest_of(text)}

    def make_key(self, name: str, role: Role, expires_in_s: float | None = None) -> None:
        ask = CreateKey(name=name, role=role, expires_in_s=expires_in_s)
        made = self.server.line.ask(ask, KeyIssued)
        assert made.text is not None
        self.keep(name, made.text)

    def sign_in(self, name: str) -> None:
        answer = httpx.post(
            f"http://127.0.0.1:{self.server.port}/v1/session", json={"key": self.keys[name]}, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        self.sessions[name] = answer.cookies["spoon_session"]
        self.secrets.add(self.sessions[name].rpartition(".")[2])


def furnish(house: House, receiver: Receiver) -> None:
    """Make the keys, and what belongs to alice."""
    house.make_key("root", Role.ADMIN)
    for name in ("alice", "bob", "revoked", "rotated"):
        house.make_key(name, Role.USER)
    house.make_key("viewer", Role.VIEWER)
    wait_for("the keys", lambda: _is_closed(house))
    for name in ("root", "alice", "bob", "viewer", "revoked", "rotated"):
        house.sign_in(name)
    house.make_key("expired", Role.USER, BRIEF_S)
    wait_for("the key that expires", lambda: _status_of(house, "expired") == 200)
    house.sign_in("expired")
    found = {one["name"]: one["key_id"] for one in house.ask("GET", "/v1/keys", "root")["items"]}
    house.ask("DELETE", f"/v1/keys/{found['revoked']}", "root")
    new = house.ask("POST", f"/v1/keys/{found['rotated']}/rotate", "root", {})
    house.secrets |= {new["key"].rpartition("_")[2], digest_of(new["key"])}
    _make_things(house, receiver)
    house.ids["key_id"] = found["alice"]
    wait_for("its end", lambda: _status_of(house, "expired") == 401)


def _make_things(house: House, receiver: Receiver) -> None:
    job = house.ask("POST", "/v1/jobs", "alice", {"checkpoint": PLAIN, "prompt": "hers", "steps": 2})
    house.server.records.wait_for_job(JobId(job["job_id"]), JobState.FINISHED)
    body = {"url": receiver.url(), "events": ["job.failed"]}
    webhook = house.ask("POST", "/v1/webhooks", "alice", body)
    house.secrets |= {webhook["secret"], webhook["secret"].removeprefix("whsec_")}
    house.ask("POST", f"/v1/webhooks/{webhook['webhook_id']}/test", "alice")
    deliveries = f"/v1/webhooks/{webhook['webhook_id']}/deliveries"
    receiver.wait_for("/hook", 1)
    wait_for("the delivery", lambda: _first(house, deliveries)["status"] == "delivered")
    house.ids |= {
        "job_id": job["job_id"],
        "image_id": job["image_id"],
        "webhook_id": webhook["webhook_id"],
        "delivery_id": _first(house, deliveries)["delivery_id"],
        "engine_id": job["engine_id"],
        "model_id": str(house.server.records.model_named(PLAIN)),
    }
    body = {"model": PLAIN, "prompt": "linked", "response_format": "url", "size": "64x64"}
    made = house.ask("POST", "/v1/images/generations", "alice", body)
    house.link = re.sub("^http://[^/]*", "", made["data"][0]["url"])
    house.secrets.add(house.link.rpartition("=")[2])


def _first(house: House, path: str) -> Any:
    return house.ask("GET", path, "alice")["items"][0]


def _is_closed(house: House) -> bool:
    return httpx.get(f"http://127.0.0.1:{house.server.port}/v1/jobs", trust_env=False).status_code == 401


def _status_of(house: House, name: str) -> int:
    headers = {"Authorization": f"Bearer {house.keys[name]}"}
    return httpx.get(
        f"http://127.0.0.1:{house.server.port}/v1/session", headers=headers, trust_env=False
    ).status_code


def rows_of(database_file: Path) -> dict[str, str]:
    """A digest of all rows of each table."""
    with sqlite3.connect(f"file:{database_file}?mode=ro", uri=True) as database:
        tables = [
            name
            for name, sql in database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
            if "VIRTUAL" not in sql
        ]
        found = {name: database.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
    database.close()
    return {
        name: hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()
        for name, rows in found.items()
    }


def traces(house: House) -> Iterator[tuple[str, bytes]]:
    """All that the server has said: on its sockets, in its logs, and in the arguments of its processes."""
    for number, whole in enumerate(house.door.said):
        yield f"answer {number}", whole
    for file in (
        house.server.folder / "log",
        *house.server.folder.glob("mcp-*.log"),
        *(house.server.folder / "database" / "logs").rglob("*"),
    ):
        if file.is_file():
            yield str(file), file.read_bytes()
    for one in house.server.processes():
        yield one.module, Path(f"/proc/{one.pid}/cmdline").read_bytes()
