"""/v1/presets: named sets of a job's fields."""

import falcon

from api.http.contract.caller import Caller, caller_of
from api.http.contract.job_input import LATER_FIELDS, JobFields
from api.http.contract.preset_types import (
    PresetPage,
    PresetPageQuery,
    SaveQuery,
    check_name,
    check_preset,
    kept_fields,
    preset_of,
)
from api.http.contract.request_parsing import BodyReader, QueryReader, refuse_key
from api.http.contract.responses import send, send_nothing
from api.http.contract.validation_errors import ValidationErrors
from api.port import BusPort
from conf.settings import Server
from kernel.protocol.client import Done
from kernel.protocol.enums import Role
from kernel.protocol.errors import PresetNotFound
from kernel.protocol.presets import DeletePreset, SavePreset
from kernel.views.presets import find_preset, list_presets
from kernel.views.reader import Reader


class Presets:
    """Save, list, show and delete presets.

    A caller has those of its key, and those that are everybody's. Its own hides everybody's of the same name.
    Every change is safe to repeat, so none takes an idempotency key.
    """

    def __init__(self, bus: BusPort, reader: Reader, limits: Server) -> None:
        self._bus = bus
        self._reader = reader
        self._body = BodyReader(
            JobFields, LATER_FIELDS, lambda found, faults: check_preset(found, limits, faults)
        )
        self._save_query = QueryReader(SaveQuery)
        self._page_query = QueryReader(PresetPageQuery)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._page_query.read(req)
        page = list_presets(self._reader, caller_of(req).key_id, query.limit, query.after)
        send(resp, 200, PresetPage(items=tuple(map(preset_of, page.items)), next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        row = find_preset(self._reader, caller_of(req).key_id, name)
        if row is None:
            raise PresetNotFound(f"no preset has the name {name!r}")
        send(resp, 200, preset_of(row))

    def save(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """The body is a job of which everything may be left out: what is there is what the preset sets."""
        refuse_key(req)
        caller, faults, shared = caller_of(req), ValidationErrors(), self._save_query.read(req).shared
        body = self._body.body_of(req)
        found = self._body.read_body(body)
        check_name(name, faults)
        if shared is False and caller.key_id is None:
            faults.wrong("shared", "without API keys every preset is everybody's")
        fields = kept_fields(found, frozenset(self._body.fields_of(body)), faults)
        faults.raise_if_any()
        self._bus.ask(
            SavePreset(
                name=name, fields=fields, key_id=caller.key_id, shared=shared, is_admin=_is_admin(caller)
            ),
            Done,
        )
        self.show(req, resp, name)

    def delete(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        refuse_key(req)
        caller, faults = caller_of(req), ValidationErrors()
        check_name(name, faults)
        faults.raise_if_any()
        self._bus.ask(
            DeletePreset(name=name, key_id=caller.key_id, is_admin=_is_admin(caller)),
            Done,
        )
        send_nothing(resp)


def _is_admin(caller: Caller) -> bool:
    return caller.role is Role.ADMIN
