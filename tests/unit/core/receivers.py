"""A story with receivers of callbacks, which answer as a test has them do."""

import json
from dataclasses import dataclass, field

from msgspec.structs import replace

from kernel.core import actions
from kernel.core.actions import Action
from kernel.core.ports import Limits
from kernel.protocol import client
from kernel.protocol import worker as wire
from kernel.protocol.ids import DeliveryId, EngineId, JobId, KeyId, WebhookId, WorkerId
from kernel.protocol.rows import DeliveryRow
from kernel.protocol.webhooks import Callback, CreateWebhook, WebhookIssued
from tests.unit.core.samples import submit
from tests.unit.core.story import Story, only

URL = "https://example.org/hook"
_ROUNDED_S = 0.005
"""Rows have whole milliseconds."""


@dataclass
class Sent:
    """An attempt that a worker was told to make."""

    give: actions.GiveDelivery
    body: dict[str, object] = field(default_factory=dict)


class CallbackStory(Story):
    """Keeps the attempts that are to be made."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.sent: list[Sent] = []
        self.under_way: dict[DeliveryId, actions.GiveDelivery] = {}
        super().__init__(limits=limits)
        self.engine_id, self.engine_worker = self.running_engine(capacity=4)

    def begin(self, **found: object) -> list[Action]:
        self.under_way = {}
        return super().begin(**found)

    def _note(self, effect: actions.Effect) -> None:
        super()._note(effect)
        if isinstance(effect, actions.GiveDelivery):
            assert effect.delivery_id not in self.under_way, "one attempt at a time"
            row = self.database.deliveries[effect.delivery_id]
            assert (row.status, row.attempts) == ("sending", effect.attempt), "saved before it is sent"
            self.under_way[effect.delivery_id] = effect
            self.sent.append(Sent(effect, json.loads(self.database.bodies[effect.delivery_id])))

    def job(  # type: ignore[override]
        self, callback: Callback | None = None, key_id: KeyId | None = None, engine_id: EngineId | None = None
    ) -> JobId:
        """Submit a job, perhaps with a receiver of its own."""
        reply = self.ask(replace(submit(engine_id or self.engine_id), callback=callback, key_id=key_id))
        assert isinstance(reply, client.JobAccepted), reply
        return reply.job_id

    def webhook(self, url: str = URL, key_id: KeyId | None = None, **fields: object) -> WebhookId:
        """Subscribe a receiver."""
        reply = self.ask(CreateWebhook(url=url, key_id=key_id, **fields))  # type: ignore[arg-type]
        assert isinstance(reply, WebhookIssued), reply
        return reply.webhook_id

    def sender(self) -> WorkerId:
        """The worker that sends comes up, if it is to."""
        self.wait(0.0)
        for worker_id in list(self.newcomers):
            self.hello(worker_id)
        self.wait(0.0)
        return next(w.worker_id for w in self.broker.world.workers.values() if w.is_sending)

    def until_next(self, delivery_id: DeliveryId, short_of_s: float = 0.0) -> None:
        """Let time pass until the next attempt, if there is one. Long waits are skipped."""
        next_at_ms = self.database.deliveries[delivery_id].next_at_ms
        wait_s = 0.0 if next_at_ms is None else next_at_ms / 1000 - self.now_s + _ROUNDED_S
        if wait_s > 60.0:
            self.wait(11.0)
            for worker in list(self.broker.world.workers.values()):
                if worker.is_sending:
                    self.exits(worker.worker_id, "exit code 0")
            self.now_s += wait_s - 11.0 - short_of_s
            for worker_id in sorted(self.pinging):
                self.say(worker_id, wire.Ping())
        else:
            self.wait(wait_s - short_of_s)
        if short_of_s:
            self.wait(0.0)
        else:
            self.sender()

    def answer(
        self, delivery_id: DeliveryId, status: int | None = 200, retry_after_s: int | None = None
    ) -> list[Action]:
        """The receiver of an attempt answers; None: it cannot be reached."""
        give = self.under_way.pop(delivery_id)
        report = wire.CallbackEnded(
            delivery_id=delivery_id,
            attempt=give.attempt,
            answered=status,
            retry_after_s=retry_after_s,
            text="" if status else "cannot connect",
        )
        return self.say(give.worker_id, report)

    def deliver_all(self) -> None:
        """Every receiver answers 200 to all that comes."""
        while self.under_way:
            self.answer(next(iter(self.under_way)))
            self.wait(0.0)

    def deliveries(self) -> list[DeliveryRow]:
        """All that there are, in order."""
        return sorted(self.database.deliveries.values(), key=lambda row: row.seq)

    def kinds(self) -> list[str]:
        """The types of what was sent, in the order of sending."""
        return [str(sent.body["type"]) for sent in self.sent]


def gives(found: list[Action]) -> list[actions.GiveDelivery]:
    """What is to be sent."""
    return only(found, actions.GiveDelivery)
