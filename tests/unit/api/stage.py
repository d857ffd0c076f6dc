"""The application on a stage: a fake bus, a sample database, a hub, and a client that calls it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon.testing
import msgspec

from api.http.app import App
from api.http.framework.deferral import Streaming
from api.hub import Hub
from conf.settings import Settings
from kernel.protocol.api_keys import digest_of, key_text
from kernel.protocol.client import ApiAsk, Changed
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EventSeq, KeyId
from kernel.views.reader import Reader
from tests.unit.api.fake_bus import FakeBus
from tests.unit.views.database import SampleDatabase

NOW_MS = 10_000


@dataclass
class Stage:
    settings: Settings
    app: App
    bus: FakeBus
    database: SampleDatabase
    reader: Reader
    hub: Hub
    keys: dict[str, KeyId] = field(default_factory=dict)

    def call(
        self, method: str, path: str, json: Any = None, headers: dict[str, str] | None = None, **more: Any
    ) -> falcon.testing.Result:
        """One request from this machine."""
        if json is not None:
            more["body"] = msgspec.json.encode(json)
            headers = {"Content-Type": "application/json"} | (headers or {})
        more.setdefault("host", "localhost")
        return falcon.testing.simulate_request(self.served, method, path, headers=headers, **more)

    def served(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        """The application, to a client that takes at once what a stream sends."""
        body = self.app(environ, start_response)
        try:
            yield from body
        except Streaming as streaming:
            is_over = False
            while not is_over:
                part = streaming.stream.take()
                assert part.data or part.is_last, "the stream waits"
                yield part.data
                is_over = part.is_last
            streaming.stream.drop()
        finally:
            if hasattr(body, "close"):
                body.close()

    def get(self, path: str, **more: Any) -> falcon.testing.Result:
        return self.call("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> falcon.testing.Result:
        return self.call("POST", path, json, **more)

    def add_key(self, name: str = "admin", role: str = "admin", **values: Any) -> str:
        """An API key in the database, which the application then knows. Returns: its text."""
        key_id = KeyId(f"00000000-0000-7000-8000-{len(self.keys):012}")
        text = key_text(key_id, f"{len(self.keys):064x}")
        self.database.add_key(key_id, name, role, **({"digest": digest_of(text)} | values))
        self.keys[name] = key_id
        self.tell_of_keys()
        return text

    def tell_of_keys(self) -> None:
        """The Manager says that a key has changed."""
        self.hub.publish(Changed(seq=EventSeq(1), kind=ChangeKind.KEY, id="k", state="active", at_ms=0))

    @property
    def last_ask(self) -> ApiAsk:
        return self.bus.asked[-1]


def fields_of(result: falcon.testing.Result) -> dict[str, str]:
    """The wrong fields of a problem document, with their problems."""
    assert result.headers["content-type"] == "application/problem+json"
    return {one["field"]: one["problem"] for one in result.json["fields"]}
