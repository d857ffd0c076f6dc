"""The WSGI application: wires resources, routes, the guard and the translation of errors."""

from collections.abc import Callable
from math import ceil
from secrets import token_bytes
from typing import Final

import falcon
import msgspec

from api.http.compat.a1111.assembly import Parts, assemble
from api.http.compat.image_files import ImageFiles
from api.http.compat.job_end import JobEnd
from api.http.compat.openai.image_stream import ImageStreams
from api.http.compat.openai.images import Answering, OpenAiImageRoutes
from api.http.compat.openai.linked_images import LinkedImages
from api.http.compat.openai.models import ModelsForBoth
from api.http.compat.openai.signed_links import SignedLinks
from api.http.contract import problems
from api.http.framework.access import Access
from api.http.framework.browser_sessions import BrowserSessions
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.connection_limits import ADDRESS_SHARE
from api.http.framework.deferral import Deferral
from api.http.framework.documents import Documents
from api.http.framework.guard import Guard
from api.http.framework.listener import Observe
from api.http.framework.memory_limiter import MemoryLimiter
from api.http.framework.openapi import openapi
from api.http.framework.route import add_routes
from api.http.framework.thread_pools import waits_of
from api.http.framework.uploads import upload_limits
from api.http.gallery.archive import Archive
from api.http.gallery.deletion import ImageDeletion
from api.http.gallery.infotexts import ImageInfotexts
from api.http.gallery.page_starts import ImagePageStarts
from api.http.gallery.thumbnail_cache import ThumbnailCache
from api.http.gallery.thumbnails import ThumbnailRemover, Thumbnails
from api.http.gallery.zip_pieces import ZipMaker
from api.http.metrics.job_metrics import JobMetrics
from api.http.metrics.manager_metrics import ManagerMetrics
from api.http.metrics.page import ApiMetrics, Metrics
from api.http.resources.administration import Administration
from api.http.resources.download import Download
from api.http.resources.engines import Engines
from api.http.resources.events import Events
from api.http.resources.image_sources import ImageSources
from api.http.resources.images import Images
from api.http.resources.infotext import Infotexts
from api.http.resources.job_command import JobSending
from api.http.resources.job_events import JobEvents
from api.http.resources.job_origin import Origins
from api.http.resources.job_reader import JobReader
from api.http.resources.jobs import Jobs
from api.http.resources.keys import Keys
from api.http.resources.model_folders import ModelFolders
from api.http.resources.models import Models
from api.http.resources.presets import Presets
from api.http.resources.prompts import Prompts
from api.http.resources.pruning import Pruning
from api.http.resources.queue import Queue
from api.http.resources.session import SessionResource
from api.http.resources.stored_images import StoredImages
from api.http.resources.system import System
from api.http.resources.waiting import Waiting
from api.http.resources.web_page import WebPage
from api.http.resources.webhooks import Webhooks
from api.http.route_roles import ROLES
from api.http.routes import Gallery, OpenAi, Resources, routes
from api.http.wildcards.intake import WildcardIntake
from api.http.wildcards.lists import WildcardLists
from api.http.wildcards.wildcards import Wildcards
from api.hub import Hub
from api.key_ring import KeyRing
from api.port import BusPort
from conf.settings import Server, Settings
from kernel.views.reader import Reader

LINKS_KEY: Final = "links.key"
"""The file of the secret of signed links, beside the keys of the bus."""
BODIES_BYTES: Final = 64 << 20
"""The memory of all bodies with images."""
SECRET_BYTES: Final = 32


class App(falcon.App[falcon.Request, falcon.Response]):
    """The application, and what begins and answers requests without it."""

    deferral: Deferral
    access: Access
    observe: Observe


def make_app(
    settings: Settings,
    bus: BusPort,
    reader: Reader,
    hub: Hub,
    now_ms: Callable[[], int],
    secret: bytes | None = None,
) -> App:
    """Build the application; `now_ms` returns milliseconds since 1970 UTC.

    `secret` signs the sessions of browsers; None: one that lives as long as this process.
    """
    sessions = BrowserSessions(secret or token_bytes(SECRET_BYTES), now_ms)
    access = Access(KeyRing(reader, hub, now_ms), sessions)
    app = App(middleware=[Guard(settings.server.host, settings.server.allowed_hosts)])
    app.req_options.strip_url_path_trailing_slash = True
    problems.install(app)
    resources = _resources(settings, bus, reader, hub, now_ms, access)
    app.observe = resources.metrics.observe
    table = routes(resources)
    resources.documents.publish(lambda: msgspec.json.encode(openapi(table, ROLES)))
    add_routes(app, table, access, ROLES)
    app.deferral, app.access = resources.jobs, access
    return app


def _resources(
    settings: Settings, bus: BusPort, reader: Reader, hub: Hub, now_ms: Callable[[], int], access: Access
) -> Resources:
    server, folder = settings.server, settings.images.folder
    slots, streams, waits = ConcurrencyLimit(waits_of(server)), _streams(server), _waits(server)
    bodies = MemoryLimiter(BODIES_BYTES, slots, "too many requests with images at once")
    jobs = _job_reader(settings, reader, slots, bodies, now_ms)
    sending, waiting = JobSending(bus, reader, jobs, access, _choices(settings)), Waiting(hub, waits, slots)
    download, files = Download(bus, reader, folder, now_ms), ImageFiles(bus, folder)
    links, end = SignedLinks(settings.bus_folder / LINKS_KEY), JobEnd(reader, waiting)
    answering = Answering(reader, end, ImageStreams(reader, hub, streams, files), files, links, now_ms)
    models, own = Models(bus, reader, hub, waiting, upload_limits(settings)), settings.models
    return Resources(
        models=models,
        model_folders=ModelFolders(bus, reader, waiting, models, own.folders, own.roots),
        engines=Engines(bus, reader, hub, waiting, server),
        queue=Queue(bus, reader),
        jobs=Jobs(bus, reader, hub, waiting, sending, now_ms),
        job_events=JobEvents(reader, hub, streams),
        infotexts=Infotexts(reader, server, bodies),
        images=Images(bus, reader, now_ms),
        pruning=Pruning(bus, reader, now_ms),
        image_sources=ImageSources(reader, settings.blobs.folder, now_ms),
        download=download,
        system=System(bus, reader, server),
        administration=Administration(settings, bus, reader, now_ms),
        events=Events(reader, hub, streams),
        metrics=Metrics(JobMetrics(reader), ManagerMetrics(bus), ApiMetrics(bus, streams, waits)),
        documents=Documents(),
        page=WebPage(),
        webhooks=Webhooks(bus, reader),
        presets=Presets(bus, reader, server),
        prompts=Prompts(reader, settings, sending.wildcards),
        wildcards=Wildcards(sending.wildcards.lists),
        keys=Keys(bus, reader, now_ms),
        session=SessionResource(access),
        gallery=_gallery(settings, bus, reader, hub, now_ms),
        openai=_openai(settings, reader, sending, models, download, answering),
        a1111=assemble(Parts(settings, bus, reader, hub, sending, waiting, now_ms)),
    )


def _gallery(
    settings: Settings, bus: BusPort, reader: Reader, hub: Hub, now_ms: Callable[[], int]
) -> Gallery:
    folder = settings.images.folder
    cache = ThumbnailCache(settings.thumbnails.folder, settings.thumbnails.disk_quota_bytes)
    ThumbnailRemover(cache, hub)
    return Gallery(
        page_starts=ImagePageStarts(reader, now_ms),
        deletion=ImageDeletion(bus, reader),
        archive=Archive(reader, ZipMaker(bus, folder), now_ms),
        thumbnails=Thumbnails(reader, folder, cache, now_ms),
        infotexts=ImageInfotexts(reader, folder, now_ms),
    )


def _streams(server: Server) -> ConcurrencyLimit:
    most = min(server.max_streams, server.max_connections // 4)
    return ConcurrencyLimit(most, per_address=ceil(ADDRESS_SHARE * most), has_threads=False)


def _job_reader(
    settings: Settings,
    reader: Reader,
    slots: ConcurrencyLimit,
    bodies: MemoryLimiter,
    now_ms: Callable[[], int],
) -> JobReader:
    origins = Origins(reader, settings.blobs.folder, now_ms)
    stored = StoredImages(reader, settings.images.folder, now_ms)
    return JobReader(settings.server, slots, bodies, origins, stored)


def _waits(server: Server) -> ConcurrencyLimit:
    return ConcurrencyLimit(min(server.max_waits, server.max_connections // 2), has_threads=False)


def _choices(settings: Settings) -> WildcardIntake:
    return WildcardIntake(WildcardLists(settings.wildcards.folders))


def _openai(
    settings: Settings,
    reader: Reader,
    sending: JobSending,
    models: Models,
    download: Download,
    answering: Answering,
) -> OpenAi:
    return OpenAi(
        models=ModelsForBoth(models, reader),
        images=OpenAiImageRoutes(settings, reader, sending, answering),
        linked=LinkedImages(download, answering.links, answering.now_ms),
    )
