"""Clients that never stop asking, and the ledger of what they were promised."""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import msgspec

from kernel.protocol.client import (
    BrokerReply,
    CancelJob,
    ClaimDownload,
    DeleteJob,
    Done,
    DownloadGranted,
    FinishDownload,
    JobAccepted,
    ModelAccepted,
    Refused,
    RegisterModel,
    SubmitJob,
)
from kernel.protocol.enums import InputKind, ModelType
from kernel.protocol.ids import EngineId, ImageId, JobId, ModelId
from kernel.protocol.specs import JobRequest
from tests.acceptance.line import Line
from tests.acceptance.orders import with_pictures
from tests.acceptance.patience import PATIENCE_S, wait_for

PAUSE_S: Final = 0.05
"""The longest pause between two asks of a client."""
MAX_COUNT: Final = 3
MAX_PICTURE_BYTES: Final = 100_000
TRANSPORT_TIMEOUT_S: Final = 5.0


@dataclass
class Ledger:
    """What one client was promised: it holds, or something was lost."""

    jobs: dict[JobId, tuple[ImageId, ...]] = field(default_factory=dict)
    cancelled: set[JobId] = field(default_factory=set)
    deleted: set[JobId] = field(default_factory=set)
    models: set[ModelId] = field(default_factory=set)
    pictures: dict[JobId, bytes] = field(default_factory=dict)
    """The reference images that came with some of the jobs."""

    def some_job(self, chance: random.Random) -> JobId | None:
        """One of the newer jobs, which may still be open."""
        newest = list(self.jobs)[-20:]
        return chance.choice(newest) if newest else None


@dataclass
class BusClient:
    """Asks over the bus: mostly for jobs, sometimes to cancel, delete or download, rarely for a model."""

    line: Line
    checkpoint: Path
    engines: Sequence[EngineId]
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)

    def run(self, is_over: threading.Event) -> Ledger:
        """Ask until it is over. What was asked last is answered, too."""
        often = [self._submit] * 14 + [self._submit_picture] * 6
        rarely = [self._cancel, self._delete, self._download] * 3
        acts: list[Callable[[], None]] = [*often, *rarely, self._register]
        while not is_over.wait(self.chance.uniform(0, PAUSE_S)):
            self.chance.choice(acts)()
        return self.ledger

    def _submit(self) -> None:
        request = JobRequest(prompt=f"a fox {self.chance.random()}", count=self.chance.randint(1, MAX_COUNT))
        ask = SubmitJob(engine_id=self.chance.choice(self.engines), request=request)
        key = self.line.ids.text()
        accepted = self.line.ask(ask, JobAccepted, key)
        assert accepted.job_id not in self.ledger.jobs, "another command was answered with an old job"
        self.ledger.jobs[accepted.job_id] = accepted.image_ids
        if self.chance.random() < 0.2:
            assert self.line.ask(ask, JobAccepted, key) == accepted, "the same key had another answer"

    def _submit_picture(self) -> None:
        picture = self.chance.randbytes(self.chance.randint(1, MAX_PICTURE_BYTES))
        ask = with_pictures(self.chance.choice(self.engines), {InputKind.REFERENCE: picture})
        key = self.line.ids.text()
        accepted = self.line.ask(ask, JobAccepted, key, [picture])
        assert accepted.job_id not in self.ledger.jobs, "another command was answered with an old job"
        self.ledger.jobs[accepted.job_id] = accepted.image_ids
        self.ledger.pictures[accepted.job_id] = picture
        if self.chance.random() < 0.2:
            assert self.line.ask(ask, JobAccepted, key, [picture]) == accepted

    def _register(self) -> None:
        name = f"model {self.chance.random()}"
        ask = RegisterModel(name=name, uri=self.checkpoint.as_uri(), model_type=ModelType.CHECKPOINT)
        accepted = self.line.ask(ask, ModelAccepted)
        assert accepted.model_id not in self.ledger.models, "another command was answered with an old model"
        self.ledger.models.add(accepted.model_id)

    def _cancel(self) -> None:
        if (job_id := self.ledger.some_job(self.chance)) is not None:
            answer = self.line.tell(CancelJob(job_id=job_id), self.line.ids.text())
            if _expect(answer, Done, "illegal_move", "job_not_found"):
                self.ledger.cancelled.add(job_id)

    def _delete(self) -> None:
        if (job_id := self.ledger.some_job(self.chance)) is not None:
            answer = self.line.tell(DeleteJob(job_id=job_id), self.line.ids.text())
            if _expect(answer, Done, "job_unfinished", "job_not_found"):
                self.ledger.deleted.add(job_id)

    def _download(self) -> None:
        if (job_id := self.ledger.some_job(self.chance)) is None:
            return
        image_id = self.ledger.jobs[job_id][0]
        answer = self.line.tell(ClaimDownload(image_id=image_id), self.line.ids.text())
        _expect(answer, DownloadGranted, "image_not_found")
        if isinstance(answer, DownloadGranted):
            self.line.ask(FinishDownload(image_id=image_id, ticket=answer.ticket, whole=True), Done)


def _expect(answer: BrokerReply, wanted: type[BrokerReply], *refusals: str) -> bool:
    """Whether it was done; the only other answers allowed are these refusals."""
    if isinstance(answer, wanted):
        return True
    assert isinstance(answer, Refused), answer
    assert answer.code in refusals, answer
    return False


class CreatedJob(msgspec.Struct):
    """What the API answers to a new job, as far as it matters here."""

    job_id: JobId
    image_ids: tuple[ImageId, ...]


@dataclass
class WebClient:
    """Posts jobs to the API, each with an idempotency key, until each is accepted."""

    url: str
    engines: Sequence[EngineId]
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)

    def run(self, is_over: threading.Event) -> Ledger:
        """Post until it is over, each time over a connection of its own."""
        with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0)) as http:
            while not is_over.wait(self.chance.uniform(0, PAUSE_S)):
                created = self._post(http, f"web-{self.chance.getrandbits(128):x}")
                assert created.job_id not in self.ledger.jobs, "another request was answered with an old job"
                self.ledger.jobs[created.job_id] = created.image_ids
        return self.ledger

    def _post(self, http: httpx.Client, key: str) -> CreatedJob:
        body = {"engine_id": self.chance.choice(self.engines), "prompt": "a fox", "count": 2}

        def try_once() -> httpx.Response | None:
            try:
                response = http.post(
                    f"{self.url}/v1/jobs",
                    json=body,
                    headers={"Idempotency-Key": key},
                    timeout=TRANSPORT_TIMEOUT_S,
                )
            except httpx.TransportError:
                return None
            return None if response.status_code == 503 else response

        response = wait_for("an answer of the API", try_once, 2 * PATIENCE_S)
        assert response.status_code == 202, response.text
        return msgspec.json.decode(response.content, type=CreatedJob)
