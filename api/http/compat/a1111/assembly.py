"""Builds the routes for A1111's clients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from api.http.compat.a1111.control import Control
from api.http.compat.a1111.generation import Generation
from api.http.compat.a1111.generation_answers import GenerationAnswers
from api.http.compat.a1111.generation_requests import GenerationRequests
from api.http.compat.a1111.image_tools import ImageTools
from api.http.compat.a1111.job_tools import JobTools, Tools
from api.http.compat.a1111.lists import Lists
from api.http.compat.a1111.models import ModelLists
from api.http.compat.a1111.option_store import FILE_NAME, OptionFile
from api.http.compat.a1111.options import Settings as OptionSettings
from api.http.compat.a1111.progress import ProgressOf
from api.http.compat.a1111.requests import ImageToImage, TextToImage
from api.http.compat.a1111.routes import A1111
from api.http.compat.a1111.sent_images import SentImages
from api.http.compat.a1111.tasks import Tasks
from api.http.compat.a1111.translation import Translation
from api.http.compat.image_files import ImageFiles
from api.http.compat.job_end import JobEnd
from api.http.resources.job_command import JobSending
from api.http.resources.waiting import Waiting
from api.hub import Hub
from api.port import BusPort
from conf.settings import Settings
from kernel.views.reader import Reader

PATIENCE_S: Final = 6 * 3_600.0
"""Seconds that a request waits for its job: A1111's clients wait without end, and a queue may be long."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes have in common with all others."""

    settings: Settings
    bus: BusPort
    reader: Reader
    hub: Hub
    sending: JobSending
    waiting: Waiting
    now_ms: Callable[[], int]


def assemble(parts: Parts) -> A1111:
    """All routes."""
    server, body, reader = parts.settings.server, parts.sending.body, parts.reader
    models = ModelLists(reader, parts.settings.engines.default)
    options, tasks = OptionSettings(models), Tasks(reader, parts.hub)
    store = OptionFile(parts.settings.database.folder / FILE_NAME)
    images = SentImages(server.max_pixels, body.looking)
    files = ImageFiles(parts.bus, parts.settings.images.folder)
    end = JobEnd(reader, parts.waiting, PATIENCE_S)
    translation = Translation(models, images)
    tools = Tools(
        reader=reader,
        sending=parts.sending,
        end=end,
        files=files,
        models=models,
        settings=options,
        store=store,
        images=images,
        blobs_folder=parts.settings.blobs.folder,
        server=server,
    )
    common = (body, translation, options, store, server.max_body_bytes)
    return A1111(
        generation=Generation(
            GenerationRequests(TextToImage, *common),
            GenerationRequests(ImageToImage, *common),
            *(parts.sending, end),
            GenerationAnswers(reader, files, tools.blobs_folder, body.memory, parts.now_ms),
            tasks,
        ),
        progress=ProgressOf(parts.bus, reader, tasks, parts.now_ms),
        lists=Lists(parts.bus, models, options, store, server),
        control=Control(parts.bus, reader, parts.waiting, options, store),
        images=ImageTools(images, server.max_body_bytes, server.max_pixels),
        tools=JobTools(tools),
    )
