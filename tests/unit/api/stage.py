"""The application on a stage: a fake bus, a sample database, a hub, and a client that calls it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import falcon.testing
import msgspec

from api.http.app import App
from api.http.framework.deferral import Streaming
from api.hub import Hub
from conf.settings import Settings
from kernel.protocol.client import ApiAsk
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

    @property
    def last_ask(self) -> ApiAsk:
        return self.bus.asked[-1]


def fields_of(result: falcon.testing.Result) -> dict[str, str]:
    """The wrong fields of a problem document, with their problems."""
    assert result.headers["content-type"] == "application/problem+json"
    return {one["field"]: one["problem"] for one in result.json["fields"]}
