"""Whatever the Manager may refuse, the description of the API says so."""

from typing import Any, NamedTuple, get_args

import pytest

from api.http.contract.errors import InputGone
from kernel.protocol import client
from kernel.protocol.api_keys import ChangeKey, CreateKey, RevokeKey, RotateKey
from kernel.protocol.errors import ImageGone, KeyReused, NameAmbiguous, SpoonError
from kernel.protocol.presets import DeletePreset, SavePreset
from kernel.protocol.webhooks import (
    CreateWebhook,
    DeleteWebhook,
    EditWebhook,
    Redeliver,
    RotateWebhook,
    ShowCallbackSecret,
    TestWebhook,
)
from kernel.protocol.worker_tokens import (
    CordonWorker,
    CreateWorkerToken,
    DrainWorker,
    RevokeWorker,
    RevokeWorkerToken,
)
from tests.unit.api.refusals import ANY, refusals
from tests.unit.api.stage import Stage


class Call(NamedTuple):
    """A request that leads to an ask."""

    method: str
    path: str
    body: dict[str, object] | None = None


CALLS = {
    client.RegisterModel: Call(
        "POST", "/v1/models", {"name": "a", "path": "file:///a", "model_type": "checkpoint"}
    ),
    client.RetryModel: Call("POST", "/v1/models/{model_id}/retry"),
    client.DeleteModel: Call("DELETE", "/v1/models/{model_id}"),
    client.PruneModels: Call("POST", "/v1/models/prune", {}),
    client.ScanModels: Call("POST", "/v1/models/scan"),
    client.CreateEngine: Call("POST", "/v1/engines", {"checkpoint": "m1"}),
    client.EditEngine: Call("PATCH", "/v1/engines/{engine_id}", {"steps": 3}),
    client.StartEngine: Call("PATCH", "/v1/engines/{engine_id}/start"),
    client.StopEngine: Call("PATCH", "/v1/engines/{engine_id}/stop"),
    client.DeleteEngine: Call("DELETE", "/v1/engines/{engine_id}"),
    client.SubmitJob: Call("POST", "/v1/jobs", {"engine_id": "e1"}),
    client.PauseQueue: Call("PATCH", "/v1/engines/{engine_id}/pause"),
    client.ResumeQueue: Call("PATCH", "/v1/engines/{engine_id}/resume"),
    client.EditJob: Call("PATCH", "/v1/jobs/{job_id}", {"priority": 1}),
    client.CancelJob: Call("POST", "/v1/jobs/{job_id}/cancel"),
    client.DeleteJob: Call("DELETE", "/v1/jobs/{job_id}"),
    client.PruneImages: Call("POST", "/v1/images/prune", {"engine_id": "e1"}),
    client.DeleteImages: Call("POST", "/v1/images/prune", {"seed": 0}),
    client.EditImage: Call("PATCH", "/v1/images/{image_id}", {"tags": ["best"]}),
    client.DeleteImage: Call("DELETE", "/v1/images/{image_id}"),
    client.ClaimDownload: Call("GET", "/v1/images/{image_id}/download"),
    CreateKey: Call("POST", "/v1/keys", {"name": "a", "role": "user"}),
    ChangeKey: Call("PATCH", "/v1/keys/{key_id}", {"name": "a"}),
    RotateKey: Call("POST", "/v1/keys/{key_id}/rotate", {}),
    RevokeKey: Call("DELETE", "/v1/keys/{key_id}"),
    CreateWebhook: Call("POST", "/v1/webhooks", {"url": "https://a.example"}),
    EditWebhook: Call("PATCH", "/v1/webhooks/{webhook_id}", {"url": "https://a.example"}),
    RotateWebhook: Call("POST", "/v1/webhooks/{webhook_id}/rotate"),
    DeleteWebhook: Call("DELETE", "/v1/webhooks/{webhook_id}"),
    TestWebhook: Call("POST", "/v1/webhooks/{webhook_id}/test"),
    Redeliver: Call("POST", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"),
    SavePreset: Call("PUT", "/v1/presets/{name}", {"steps": 3}),
    DeletePreset: Call("DELETE", "/v1/presets/{name}"),
    ShowCallbackSecret: Call("GET", "/v1/callbacks/secret"),
    CreateWorkerToken: Call("POST", "/v1/workers/tokens", {"pool": "lab"}),
    RevokeWorkerToken: Call("DELETE", "/v1/workers/tokens/{token_id}"),
    CordonWorker: Call("PATCH", "/v1/workers/{worker_id}", {"cordoned": True}),
    DrainWorker: Call("PATCH", "/v1/workers/{worker_id}", {"drain": True}),
    RevokeWorker: Call("DELETE", "/v1/workers/{worker_id}"),
}
OF_THE_API = dict.fromkeys((client.RetryModel, client.DeleteModel), (NameAmbiguous,)) | {
    client.SubmitJob: (InputGone, ImageGone)
}
"""What the API itself refuses, before it asks the Manager."""
IDS = {"model_id": "m1", "engine_id": "e1", "job_id": "j1", "image_id": "i1", "key_id": "admin"} | {
    "webhook_id": "w1",
    "delivery_id": "d1",
    "name": "p1",
    "token_id": "t1",
    "worker_id": "w1-1",
}


def codes(operation: Any, status: int) -> list[str]:
    """The codes that an operation is said to answer with under this status."""
    found: list[str] = operation["responses"].get(str(status), {}).get("x-codes", [])
    return found


def test_every_ask_that_waits_for_an_answer_has_a_call_and_a_list_of_refusals() -> None:
    assert set(CALLS) == set(get_args(client.ApiAsk)) - {client.FinishDownload}
    assert {ask for ask in CALLS if not refusals()[ask]} == {
        client.PruneModels,
        client.DeleteImages,
        ShowCallbackSecret,
        CreateWorkerToken,
    }


@pytest.mark.parametrize("ask", CALLS, ids=lambda ask: ask.__name__)
def test_every_refusal_of_an_ask_is_described(stage: Stage, ask: type[client.ApiAsk]) -> None:
    stage.database.add_model("m1")
    stage.database.add_engine("e1")
    stage.database.add_job(1, "j1", status="finished", finished_at_ms=2_000)
    stage.database.add_image("i1", "j1")
    stage.database.add_webhook("w1")
    stage.database.add_delivery(1, "d1", webhook_id="w1")
    headers = {"Authorization": f"Bearer {stage.add_key()}"}
    call = CALLS[ask]
    operation = stage.get("/openapi.json").json["paths"][call.path][call.method.lower()]
    is_keyed = any(one["name"] == "Idempotency-Key" for one in operation["parameters"])
    for error in {*ANY, *refusals()[ask], *([KeyReused] if is_keyed else [])}:
        stage.bus.reactions[ask] = error()
        result = stage.call(call.method, call.path.format_map(IDS), call.body, headers=headers)
        assert result.json["code"] == error.code
        assert error.code in codes(operation, result.status_code), error


@pytest.mark.parametrize("ask", CALLS, ids=lambda ask: ask.__name__)
def test_no_conflict_is_described_that_never_comes(stage: Stage, ask: type[client.ApiAsk]) -> None:
    call = CALLS[ask]
    operation = stage.get("/openapi.json").json["paths"][call.path][call.method.lower()]
    possible = {error.code for error in (*refusals()[ask], KeyReused, *OF_THE_API.get(ask, ()))}
    for status in (409, 410, 507):
        assert set(codes(operation, status)) - {""} <= possible


@pytest.mark.parametrize("error", ANY)
def test_every_refusal_of_the_devices_is_described(stage: Stage, error: type[SpoonError]) -> None:
    stage.bus.status_answer = error()
    result = stage.get("/v1/devices")
    assert error.code in codes(
        stage.get("/openapi.json").json["paths"]["/v1/devices"]["get"], result.status_code
    )
