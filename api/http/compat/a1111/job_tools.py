"""/controlnet/detect and /rembg: detectors and removers work within jobs here, so each is a small job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from math import floor, sqrt
from pathlib import Path
from typing import Final

import falcon

from api.http.compat.a1111.answers import DetectedMaps, OneImage
from api.http.compat.a1111.controlnet import NO_MODULE, module_called
from api.http.compat.a1111.models import Chosen, ModelLists
from api.http.compat.a1111.options import OptionStore, Settings
from api.http.compat.a1111.reading import LenientReader, strange_parameters
from api.http.compat.a1111.requests import DetectInput, RembgInput
from api.http.compat.a1111.sending import send_told
from api.http.compat.a1111.sent_images import SentImages, png_of
from api.http.compat.a1111.tasks import client_of
from api.http.compat.image_files import ImageFiles
from api.http.compat.job_end import JobEnd, error_of
from api.http.contract.caller import caller_of
from api.http.contract.errors import InputGone
from api.http.framework.file_headers import plain_name
from api.http.framework.input_images import upright_size
from api.http.resources.job_command import JobSending, renamed
from api.http.resources.job_reader import JobSubmission
from conf.settings import Server
from kernel.protocol.client import JobAccepted
from kernel.protocol.enums import (
    BlobKind,
    ControlType,
    ImageFileType,
    ImageFit,
    InputKind,
    ModelType,
    Scheduler,
)
from kernel.protocol.errors import ModelMissing, SpoonError, of_field, wrong_field
from kernel.protocol.ids import JobId
from kernel.protocol.rows import ModelRow
from kernel.protocol.values import MAX_SIDE_PX
from kernel.views.jobs import find_blob
from kernel.views.reader import Reader
from kernel.views.rows import JobRow

KEPT_S: Final = 60.0
"""The images of these jobs are nobody's wish."""
_CELL_PX: Final = 64
"""The extension's maps have sides that are multiples of it."""
_SHORT: Final[Mapping[str, object]] = {
    "steps": 1,
    "cfg": 1,
    "seed": 0,
    "scheduler": Scheduler.EULER,
    "lora_tags": False,
    "loras": [],
    "embeddings": [],
    "image_fit": ImageFit.STRETCH,
    "image_file_type": ImageFileType.PNG,
    "expire_after": KEPT_S,
}
"""The values of the shortest job."""
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tools:
    """What the routes here have in common."""

    reader: Reader
    sending: JobSending
    end: JobEnd
    files: ImageFiles
    models: ModelLists
    settings: Settings
    store: OptionStore
    images: SentImages
    blobs_folder: Path
    server: Server


class JobTools:
    """Draws control maps, and removes backgrounds."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._detect = LenientReader(DetectInput, tools.server.max_body_bytes)
        self._rembg = LenientReader(RembgInput, tools.server.max_body_bytes)

    def detect(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /controlnet/detect"""
        asked, told = self._detect.read(req)
        told += strange_parameters(req)
        field = "controlnet_input_images" if asked.controlnet_input_images else "controlnet_images"
        texts = asked.controlnet_input_images or asked.controlnet_images
        if not texts:
            raise wrong_field(field, "is required")
        if asked.controlnet_module.lower() in (NO_MODULE, ""):
            images = tuple(self._tools.images.file(field, text) for text in texts)
            send_told(resp, DetectedMaps(images=images), told)
            return
        if len(texts) > 1:
            raise wrong_field(field, "must be one image: send one request for each")
        kind = module_called("controlnet_module", asked.controlnet_module)
        data = self._tools.images.file(field, texts[0])
        chosen = self._chosen(req)
        net = self._net_for(kind, chosen)
        size = _map_size(upright_size(data), asked.controlnet_processor_res, self._tools.server.max_pixels)
        kind = net.control_type or kind
        fields = {**_SHORT, "type_pose": kind, "control_models": [net.model_id], **_sides(size)}

        def answer(resp: falcon.Response, row: JobRow) -> None:
            send_told(resp, DetectedMaps(images=(self._map(row, kind),)), [*told, *row.warnings])

        self._run(req, resp, {**fields, **_target(chosen)}, {InputKind.POSE: data}, answer)

    def remove_background(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /rembg and /sdapi/v1/rembg"""
        asked, told = self._rembg.read(req)
        told += strange_parameters(req)
        if asked.alpha_matting:
            told.append("alpha_matting has no effect")
        data = self._tools.images.file("input_image", asked.input_image)
        remover = self._tools.models.find("model", asked.model, ModelType.BACKGROUND)
        size = _within(upright_size(data), self._tools.server.max_pixels, 8)
        fields = {**_SHORT, "strength": 0, "remove_background_models": [remover.model_id], **_sides(size)}

        def answer(resp: falcon.Response, row: JobRow) -> None:
            file = self._tools.files.read(row.image_ids[0])
            file.finish(True)
            with self._tools.images.looking.holding(1):
                image = _cut_out(data, file.data, mask_only=asked.return_mask)
            send_told(resp, OneImage(image=image), [*told, *row.warnings])

        self._run(req, resp, {**fields, **_target(self._chosen(req))}, {InputKind.REFERENCE: data}, answer)

    def _chosen(self, req: falcon.Request) -> Chosen | None:
        return self._tools.settings.chosen(self._tools.store.load(client_of(req).key))

    def _net_for(self, kind: ControlType, chosen: Chosen | None) -> ModelRow:
        """A ControlNet whose maps are of this type, for the checkpoint. Raises: ModelMissing."""
        base = None if chosen is None else chosen.checkpoint.model_base
        depths = (ControlType.DEPTH, ControlType.MIDAS)
        kinds = (kind, *depths) if kind in depths else (kind,)
        for one in kinds:
            for row in self._tools.models.ready(ModelType.CONTROLNET):
                if row.control_type is one and (base is None or row.model_base in (None, base)):
                    return row
        problem = f"maps are drawn in a job with a ControlNet: none is registered for {kind}"
        raise of_field(ModelMissing, "controlnet_module", problem)

    def _run(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        fields: Mapping[str, object],
        images: Mapping[InputKind, bytes],
        answer: Callable[[falcon.Response, JobRow], None],
    ) -> None:
        """Submit a job, and have it answered if it is finished. Raises: its error, if it is not."""
        self._tools.end.check_room()

        def answer_finished(resp: falcon.Response, row: JobRow) -> None:
            error = error_of(row)
            if error is not None:
                raise error
            answer(resp, row)

        self._tools.end.answer(req, resp, self._submit(req, fields, images), answer_finished)

    def _submit(
        self, req: falcon.Request, fields: Mapping[str, object], images: Mapping[InputKind, bytes]
    ) -> JobId:
        def read() -> tuple[JobSubmission, None]:
            return self._tools.sending.body.of_fields(fields, images, caller_of(req), strict=True), None

        try:
            length, key_id = req.content_length or 0, caller_of(req).key_id
            return self._tools.sending.send(read, length, JobAccepted, key_id).job_id
        except SpoonError as error:
            raise renamed(error, _name_of) from error

    def _map(self, row: JobRow, kind: ControlType) -> bytes:
        blob = find_blob(self._tools.reader, row.job_id, BlobKind(f"map_{kind}"))
        if blob is None:
            raise InputGone(f"the map of job {row.job_id} has expired (setting blobs.expire_after)")
        return (self._tools.blobs_folder / plain_name(blob.file_name)).read_bytes()


_NAMES: Final[Mapping[str, str]] = {
    "type_pose": "controlnet_module",
    "control_models": "controlnet_module",
    "pose_image_blob": "controlnet_input_images",
    "reference_image_blob": "input_image",
    "remove_background_models": "model",
}


def _name_of(field: str) -> str:
    return _NAMES.get(field.partition("[")[0], field)


def _target(chosen: Chosen | None) -> dict[str, object]:
    return {} if chosen is None else chosen.fields


def _sides(size: Size) -> dict[str, object]:
    return {"width": size[0], "height": size[1]}


def _map_size(size: Size, resolution_px: int, max_pixels: int) -> Size:
    """As the extension's: the shorter side has the resolution; without one, the size of the image."""
    factor = 1.0 if resolution_px <= 0 else resolution_px / min(size)
    scaled = round(size[0] * factor), round(size[1] * factor)
    return _within(scaled, max_pixels, _CELL_PX)


def _within(size: Size, max_pixels: int, cell_px: int) -> Size:
    """The nearest size of whole cells that a job may have."""
    factor = min(1.0, sqrt(max_pixels / (size[0] * size[1])), MAX_SIDE_PX / max(size))
    width, height = (max(64, round(side * factor / cell_px) * cell_px) for side in size)
    while width * height > max_pixels:  # rounded up
        width, height = (width - cell_px, height) if width > height else (width, height - cell_px)
    return min(width, floor(MAX_SIDE_PX)), min(height, floor(MAX_SIDE_PX))


def _cut_out(data: bytes, made: bytes, *, mask_only: bool) -> bytes:
    """The sent image, as transparent as the one that was made of it."""
    from PIL import Image, ImageOps

    with Image.open(BytesIO(made)) as image:
        alpha = image.convert("RGBA").getchannel("A")
    with Image.open(BytesIO(data)) as sent:
        whole = ImageOps.exif_transpose(sent).convert("RGBA")
    alpha = alpha.resize(whole.size, Image.Resampling.BILINEAR)
    if mask_only:
        return png_of(alpha)
    whole.putalpha(alpha)
    return png_of(whole)
