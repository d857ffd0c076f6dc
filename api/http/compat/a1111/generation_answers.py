"""The answer of a request for images: the files as base64, and how they were made."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import falcon
import msgspec
from msgspec.structs import replace

from api.http.compat.a1111.answers import Generated, GenerationInfo
from api.http.compat.a1111.models import file_name, short_hash
from api.http.compat.a1111.requests import ImageToImage, TextToImage
from api.http.compat.a1111.sending import stamp
from api.http.compat.image_files import ImageFile, ImageFiles, SentBody
from api.http.compat.job_end import tell_in_header
from api.http.framework.file_headers import plain_name
from api.http.framework.memory_limiter import MemoryLimiter
from api.http.infotext.image_texts import infotext_in
from kernel.protocol.enums import BlobKind, ControlType
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.rows import ModelRow
from kernel.protocol.schedulers import names_of_a1111
from kernel.protocol.sources import stem_of
from kernel.protocol.version import VERSION
from kernel.views.images import ImageFilter, list_images
from kernel.views.jobs import find_blob
from kernel.views.models import find_model
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow, JobRow

MOST_IMAGES: Final = 10_000
TIMES: Final = 3
"""A response takes this many times the size of its image files in memory: as they are, and in base64."""

Asked = TextToImage | ImageToImage


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a waiting request keeps of what it asked for."""

    asked: Asked
    """Without images, which are many megabytes: those that are to be sent back are stored with the job."""
    warnings: Sequence[str]
    maps: Sequence[ControlType]


def wanted(asked: Asked, warnings: Sequence[str], maps: Sequence[ControlType]) -> Wanted:
    """What is kept of a request while its job is made."""
    if isinstance(asked, ImageToImage):
        asked = replace(asked, init_images=None, mask=None)
    return Wanted(replace(asked, alwayson_scripts={}), warnings, maps)


class GenerationAnswers:
    """Sends the images of jobs that have ended."""

    def __init__(
        self,
        reader: Reader,
        files: ImageFiles,
        blobs_folder: Path,
        memory: MemoryLimiter,
        now_ms: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._files = files
        self._blobs = blobs_folder
        self._memory = memory

    def send(self, resp: falcon.Response, row: JobRow, want: Wanted) -> None:
        """Send what there is of a job: of one that was interrupted, the images that were finished.

        Raises: ImageGone, ImageBusy; as BusPort.ask.
        """
        found = ImageFilter(job_id=row.job_id, is_gone=False)
        page = list_images(self._reader, found, self._now_ms(), MOST_IMAGES)
        images = sorted(page.items, key=lambda one: one.position)
        with self._memory.holding(TIMES * sum(image.size_bytes for image in images)):
            files = self._files.read_all(image.image_id for image in images)
            kinds = [BlobKind(f"map_{kind}") for kind in want.maps if want.asked.send_images]
            maps = [self._blob(row, kind) for kind in kinds]
            sent = [file.data for file in files if want.asked.send_images]
            answer = Generated(
                images=(*sent, *(one for one in maps if one is not None)),
                parameters=self._with_inputs(want.asked, row),
                info=msgspec.json.encode(self._info(row, images, files)).decode(),
            )
            body = msgspec.json.encode(answer)
        resp.status = 200
        resp.set_stream(SentBody(body, files if want.asked.send_images else ()), len(body))
        if not want.asked.send_images:
            _give_back(files)
        tell_in_header(resp, (*want.warnings, *row.warnings))

    def _with_inputs(self, asked: Asked, row: JobRow) -> Asked:
        """The request with the images that it asks to have sent back."""
        if not (isinstance(asked, ImageToImage) and asked.include_init_images):
            return asked
        image, mask = (self._blob(row, kind) for kind in (BlobKind.REFERENCE, BlobKind.MASK))
        return replace(
            asked,
            init_images=None if image is None else (b64encode(image).decode(),),
            mask=None if mask is None else b64encode(mask).decode(),
        )

    def _blob(self, row: JobRow, kind: BlobKind) -> bytes | None:
        """A file of the job besides its images; None, if it is not there, or no longer."""
        blob = find_blob(self._reader, row.job_id, kind)
        try:
            return None if blob is None else (self._blobs / plain_name(blob.file_name)).read_bytes()
        except FileNotFoundError:
            return None

    def _info(self, row: JobRow, images: Sequence[ImageRow], files: Sequence[ImageFile]) -> GenerationInfo:
        spec, count = row.spec, len(images)
        seeds = tuple(image.seed for image in images) or (spec.seed,)
        checkpoint = self._model((images[0].checkpoint if images else None) or row.checkpoint)
        vae = None if spec.vae == OWN_VAE else self._model(spec.vae)
        texts = tuple(infotext_in(file.data) for file in files)
        return GenerationInfo(
            prompt=spec.prompt,
            all_prompts=(spec.prompt,) * count,
            negative_prompt=spec.negative_prompt,
            all_negative_prompts=(spec.negative_prompt,) * count,
            seed=seeds[0],
            all_seeds=seeds,
            subseed=seeds[0],
            all_subseeds=seeds,
            width=images[0].width_px if images else spec.width_px,
            height=images[0].height_px if images else spec.height_px,
            sampler_name=names_of_a1111(spec.scheduler, spec.scheduler_config)[0],
            cfg_scale=spec.guidance_scale,
            steps=spec.steps,
            batch_size=max(1, count),
            sd_model_name="" if checkpoint is None else stem_of(checkpoint.name),
            sd_model_hash=None if checkpoint is None else short_hash(checkpoint),
            sd_vae_name=None if vae is None else file_name(vae),
            sd_vae_hash=None if vae is None else short_hash(vae),
            denoising_strength=spec.strength,
            extra_generation_params={},
            infotexts=texts,
            job_timestamp=stamp(row.created_at_ms),
            clip_skip=spec.clip_skip or 1,
            version=f"automatic-spoon {VERSION}",
        )

    def _model(self, model_id: ModelId | None) -> ModelRow | None:
        return None if model_id is None else find_model(self._reader, model_id)


def _give_back(files: Sequence[ImageFile]) -> None:
    for file in files:
        file.finish(False)
