"""The application on a stage: a fake bus, a sample database, a hub, and a client that calls it."""

from dataclasses import dataclass
from typing import Any

import falcon.testing
import msgspec

from api.http.app import App
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
        return falcon.testing.simulate_request(self.app, method, path, headers=headers, **more)

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
