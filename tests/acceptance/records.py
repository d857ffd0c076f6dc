"""The database of a running server as the API sees it: what must be there, and waiting for what must come."""

import time
from pathlib import Path

from kernel.protocol.enums import ENDED_JOB_STATES, EngineState, JobState, ModelState
from kernel.protocol.ids import EngineId, ImageId, JobId, ModelId, TokenId
from kernel.protocol.rows import BlobRow, ModelRow
from kernel.views.engines import find_engine
from kernel.views.images import ImageFilter, find_image, list_images
from kernel.views.jobs import JobFilter, blobs_of, find_job, list_jobs
from kernel.views.models import ModelFilter, find_model, list_models
from kernel.views.page import MAX_LIMIT
from kernel.views.reader import Reader
from kernel.views.rows import EngineRow, ImageRow, JobRow
from kernel.views.worker_tokens import list_worker_tokens
from tests.acceptance.patience import wait_for


class Records:
    """Reads only, through the door that the API uses."""

    def __init__(self, database_file: Path) -> None:
        self._reader = Reader(database_file)

    def close(self) -> None:
        self._reader.close()

    def token_ids(self) -> list[TokenId]:
        """Every enrollment token."""
        return [row.token_id for row in list_worker_tokens(self._reader, MAX_LIMIT).items]

    def job(self, job_id: JobId) -> JobRow:
        found = find_job(self._reader, job_id)
        assert found is not None, f"job {job_id} is lost"
        return found

    def engine(self, engine_id: EngineId) -> EngineRow:
        found = find_engine(self._reader, engine_id)
        assert found is not None, f"engine {engine_id} is lost"
        return found

    def image(self, image_id: ImageId) -> ImageRow:
        found = find_image(self._reader, image_id)
        assert found is not None, f"image {image_id} is lost"
        return found

    def model_named(self, name: str) -> ModelId:
        """The one model of this name."""
        (found,) = list_models(self._reader, ModelFilter(name=name), MAX_LIMIT).items
        return found.model_id

    def models(self) -> list[ModelRow]:
        """Every model."""
        models: list[ModelRow] = []
        after: str | None = None
        while True:
            page = list_models(self._reader, ModelFilter(), MAX_LIMIT, after)
            models += page.items
            if (after := page.next_after) is None:
                return models

    def jobs(self) -> list[JobRow]:
        """Every job."""
        jobs: list[JobRow] = []
        after: str | None = None
        while True:
            page = list_jobs(self._reader, JobFilter(), MAX_LIMIT, after)
            jobs += page.items
            if (after := page.next_after) is None:
                return jobs

    def images(self) -> list[ImageRow]:
        """Every image, gone ones too."""
        images: list[ImageRow] = []
        after: str | None = None
        while True:
            now_ms = time.time_ns() // 1_000_000
            page = list_images(self._reader, ImageFilter(), now_ms, MAX_LIMIT, after)
            images += page.items
            if (after := page.next_after) is None:
                return images

    def blobs(self) -> list[BlobRow]:
        """What all jobs have beside their images."""
        found = blobs_of(self._reader, [job.job_id for job in self.jobs()])
        return [row for rows in found.values() for row in rows]

    def wait_for_job(self, job_id: JobId, *states: JobState) -> JobRow:
        """Wait until a job is in one of these states; in any that ends it, if none is named."""

        def look() -> JobRow | None:
            job = self.job(job_id)
            return job if job.status in (states or ENDED_JOB_STATES) else None

        return wait_for(f"job {job_id} to be {' or '.join(states or ENDED_JOB_STATES)}", look)

    def wait_for_engine(self, engine_id: EngineId, *states: EngineState) -> EngineRow:
        """Wait until an engine is in one of these states."""

        def look() -> EngineRow | None:
            engine = self.engine(engine_id)
            return engine if engine.status in states else None

        return wait_for(f"engine {engine_id} to be {' or '.join(states)}", look)

    def wait_for_model(self, model_id: ModelId) -> ModelRow:
        """Wait until a model is ready."""

        def look() -> ModelRow | None:
            model = find_model(self._reader, model_id)
            assert model is not None, f"model {model_id} is lost"
            assert model.status is not ModelState.ERROR, model.error
            return model if model.status is ModelState.READY else None

        return wait_for(f"model {model_id} to be ready", look)
