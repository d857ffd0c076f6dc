"""Many right and wrong requests, made from the OpenAPI document itself, against the application."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import BaseSchema, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.http.app import make_app
from api.http.contract.a1111_errors import is_of_a1111
from api.http.contract.problems import status_of
from api.hub import Hub
from api.port import Answer
from conf.settings import Bus, Database, Images, Models, Settings
from kernel.protocol import api_keys, client, presets, webhooks, worker_tokens
from kernel.protocol.enums import EngineState, ModelState
from kernel.protocol.errors import ImageGone, SpoonError
from kernel.protocol.ids import DeliveryId, EngineId, KeyId, ModelId, TokenId, WebhookId
from kernel.protocol.memory import EngineValid
from kernel.views.reader import Reader
from tests.sampling import count
from tests.unit.api.fake_bus import FakeBus, Reaction, accepted
from tests.unit.api.refusals import refusals
from tests.unit.views.database import SampleDatabase

STREAMED = ["/v1/events", "/v1/images/zip"]
"""Responses that go on without a thread, which this client of an application alone cannot follow."""

ENGINE = client.EngineAccepted(engine_id=EngineId("e1"), status=EngineState.STARTING)
MODEL = client.ModelAccepted(model_id=ModelId("m1"), status=ModelState.READY)
JOB = accepted()
KEY = api_keys.KeyIssued(key_id=KeyId("k1"), text="spoon_1_2")
WEBHOOK = webhooks.WebhookIssued(webhook_id=WebhookId("w1"), secret="whsec_AAAA")
DELIVERY = webhooks.DeliveryQueued(delivery_id=DeliveryId("d1"))


def submit(ask: client.ApiAsk) -> client.BrokerReply:
    assert isinstance(ask, client.SubmitJob)
    return client.JobValid(engine_id=EngineId("e1")) if ask.validate_only else JOB


def create(ask: client.ApiAsk) -> client.BrokerReply:
    assert isinstance(ask, client.CreateEngine)
    return EngineValid(fits=True) if ask.validate_only else ENGINE


ANSWERS: dict[type[client.ApiAsk], Reaction] = {
    client.RegisterModel: MODEL,
    client.RetryModel: MODEL,
    client.DeleteModel: client.Done(),
    client.CreateEngine: create,
    client.EditEngine: ENGINE,
    client.StartEngine: ENGINE,
    client.StopEngine: ENGINE,
    client.DeleteEngine: client.Done(),
    client.SubmitJob: submit,
    client.PauseQueue: client.Done(),
    client.ResumeQueue: client.Done(),
    client.EditJob: client.Done(),
    client.CancelJob: client.Done(),
    client.DeleteJob: client.Done(),
    client.DeleteImage: client.Done(),
    client.DeleteImages: client.ImagesPruned(images=1, size_bytes=9),
    client.EditImage: client.Done(),
    client.PruneImages: client.ImagesPruned(images=1, size_bytes=9),
    client.PruneModels: client.ModelsPruned(models=1, size_bytes=9),
    client.ScanModels: client.Done(),
    client.ClaimDownload: ImageGone(),
    api_keys.CreateKey: KEY,
    api_keys.RotateKey: KEY,
    api_keys.ChangeKey: client.Done(),
    api_keys.RevokeKey: client.Done(),
    webhooks.CreateWebhook: WEBHOOK,
    webhooks.RotateWebhook: WEBHOOK,
    presets.SavePreset: client.Done(),
    presets.DeletePreset: client.Done(),
    webhooks.EditWebhook: client.Done(),
    webhooks.DeleteWebhook: client.Done(),
    webhooks.TestWebhook: DELIVERY,
    webhooks.Redeliver: DELIVERY,
    worker_tokens.CreateWorkerToken: worker_tokens.WorkerTokenIssued(
        token_id=TokenId("t1"), text="spoonworker_"
    ),
    worker_tokens.RevokeWorkerToken: client.Done(),
    worker_tokens.CordonWorker: client.Done(),
    worker_tokens.DrainWorker: client.Done(),
    worker_tokens.RevokeWorker: client.Done(),
    webhooks.ShowCallbackSecret: webhooks.CallbackSecret(secret="whsec_AAAA"),
}


def sometimes_refused(ask: type[client.ApiAsk], answer: Reaction) -> Reaction:
    """The answer, or one of the refusals that the core knows for it; the same for the same ask, always.

    No refusal of a server that is not well: a 5xx would hide the mistakes that are looked for here.
    """
    reactions = [answer, *(error() for error in refusals()[ask] if status_of(error) < 500)]

    def react(asked: client.ApiAsk) -> client.BrokerReply | SpoonError:
        if isinstance(asked, client.PauseQueue | client.ResumeQueue) and asked.engine_id is None:
            return client.Done()  # which engine there is not cannot be wrong
        chosen = reactions[crc32(msgspec.msgpack.encode(asked)) % len(reactions)]
        return chosen(asked) if callable(chosen) else chosen

    return react


def settings_in(folder: Path) -> Settings:
    """Everything below one folder, as the Manager prepares it."""
    for name in ("images", "models/uploads", "bus"):
        (folder / name).mkdir(parents=True)
    return Settings(
        database=Database(folder=folder),
        images=Images(folder=folder / "images"),
        models=Models(folder=folder / "models"),
        bus=Bus(folder=folder / "bus"),
    )


class CountingBus(FakeBus):
    """Knows how often it has refused what it was asked."""

    refusals = 0

    def ask(
        self, ask: client.ApiAsk, expected: type[Answer], key: str | None = None, blobs: Sequence[bytes] = ()
    ) -> Answer:
        try:
            return super().ask(ask, expected, key, blobs)
        except SpoonError:
            self.refusals += 1
            raise


@pytest.fixture(scope="module")
def bus() -> CountingBus:
    return CountingBus()


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory, bus: CountingBus) -> Iterator[BaseSchema]:
    """The application with one thing of each kind, as its own document describes it."""
    folder: Path = tmp_path_factory.mktemp("schemathesis")
    database = SampleDatabase(folder / "spoon.sqlite3")
    database.add_model("m1")
    database.add_engine("e1")
    database.add_job(1, "j1", status="finished", finished_at_ms=2_000)
    database.add_image("i1", "j1")
    database.add_preset("p1", fields='{"steps": 3}')
    database.add_webhook("w1")
    database.add_worker_token("t1")
    database.add_delivery(1, delivery_id="d1", webhook_id="w1", job_id="j1")
    bus.reactions.update({ask: sometimes_refused(ask, answer) for ask, answer in ANSWERS.items()})
    reader = Reader(database.file)
    app = make_app(settings_in(folder), bus, reader, Hub(), lambda: 10_000)
    yield schemathesis.openapi.from_wsgi("/openapi.json", app)
    reader.close()
    database.close()


def test_the_document_is_one_of_openapi(described: BaseSchema) -> None:
    described.validate()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_request_gets_an_answer_that_the_document_describes(
    described: BaseSchema, bus: CountingBus, mode: GenerationMode
) -> None:
    """Not every right request is taken: some rules, such as one engine per job, no schema can say.

    A wrong one that is refused, and not by the Manager, has not reached it: nothing is done by halves.
    """
    for result in described.exclude(path=STREAMED).get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and (is_of_a1111(operation.path) or not has_input(operation)):
            continue  # nothing can be wrong with it, or its clients may write numbers as texts

        @settings(
            max_examples=count(5, at_most=15),
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            asked, refusals = len(bus.asked), bus.refusals
            response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
            if mode is GenerationMode.NEGATIVE and 400 <= response.status_code < 500:
                assert bus.refusals > refusals or len(bus.asked) == asked, bus.asked[asked:]

        check()


def has_input(operation: schemathesis.APIOperation) -> bool:
    """Not a body that is a file, which its media type says all of."""
    return bool(operation.query) or any(
        body.definition["schema"].get("format") != "binary" for body in operation.body
    )
