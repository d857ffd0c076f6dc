"""/v1/health, /v1/devices, /v1/capabilities"""

from typing import Final

import falcon
import msgspec

from api.http.contract.constraints import MAX_PRIORITY, MAX_WAIT_S
from api.http.contract.responses import send
from api.http.framework.input_images import most_pixels
from api.port import BusPort
from conf.settings import Server
from kernel.protocol.enums import (
    NATIVE_SIZES_PX,
    ControlType,
    ImageFileType,
    ImageFit,
    InpaintArea,
    InpaintFill,
    MaskMode,
    ModelBase,
    ModelType,
    Phase,
    PromptTechnique,
    Scheduler,
    Variant,
)
from kernel.protocol.errors import DatabaseUnusable, SpoonError
from kernel.protocol.header import MAJOR, MINOR
from kernel.protocol.prompts import LONGEST_PROMPT
from kernel.protocol.schedulers import KINDS
from kernel.protocol.status import Status
from kernel.protocol.values import MAX_SIDE_PX
from kernel.protocol.version import VERSION
from kernel.views.events import known_events
from kernel.views.reader import Reader

PATIENCE_S: Final = 0.9
"""Seconds that a health check waits for the Manager: its own client mostly waits for one."""


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The API process is running."""

    status: str = "alive"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check."""

    ok: bool
    detail: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the server accepts work, `ready` or `not_ready`, and the checks behind it."""

    status: str
    manager: Check
    database: Check
    disk: Check
    api_restarts: int = 0
    """Restarts of the API process after a crash."""
    api_last_failure: str | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device that engines can run on."""

    device: str
    name: str
    total_bytes: int
    free_bytes: int
    promised_bytes: int
    """Promised to engines, for their weights and their largest batch."""
    available_bytes: int
    """What another engine could get: neither used, nor promised, nor kept free."""
    capability: str | None = None
    """A GPU's compute capability, such as `9.0`, or its instruction set, such as `gfx90a`, if it is known."""


class DeviceList(msgspec.Struct, frozen=True, kw_only=True):
    """The devices of this machine."""

    items: tuple[Device, ...]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The upper limits of a request."""

    max_body_bytes: int
    max_pixels: int
    max_steps: int
    max_count: int
    max_queue: int
    max_prompt_characters: int
    max_priority: int
    max_wait_s: float
    max_streams: int
    max_input_pixels: int
    """Limit of an input image."""
    max_side: int


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of the server and of its bus protocol."""

    automatic_spoon: str
    protocol: str


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The limits, options and versions of this server."""

    limits: Limits
    schedulers: tuple[Scheduler, ...]
    scheduler_labels: dict[str, str]
    control_types: tuple[ControlType, ...]
    prompt_techniques: tuple[PromptTechnique, ...]
    image_fits: tuple[ImageFit, ...]
    mask_modes: tuple[MaskMode, ...]
    inpaint_areas: tuple[InpaintArea, ...]
    inpaint_fills: tuple[InpaintFill, ...]
    model_types: tuple[ModelType, ...]
    model_bases: tuple[ModelBase, ...]
    native_sizes: dict[ModelBase, int]
    """The side of the squares that a base was trained with, for checkpoints that do not tell; in pixels."""
    variants: tuple[Variant, ...]
    image_file_types: tuple[ImageFileType, ...]
    versions: Versions


class System:
    """Health, devices and capabilities."""

    def __init__(self, bus: BusPort, reader: Reader, server: Server) -> None:
        self._bus = bus
        self._reader = reader
        self._capabilities = _capabilities(server)

    def live(self, req: falcon.Request, resp: falcon.Response) -> None:
        send(resp, 200, Alive())

    def ready(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200 or 503, each with the three checks."""
        readiness = _readiness(self._ask_manager(), self._check_database())
        send(resp, 200 if readiness.status == "ready" else 503, readiness)

    def devices(self, req: falcon.Request, resp: falcon.Response) -> None:
        found = self._bus.status(PATIENCE_S).devices
        items = tuple(
            Device(
                device=one.device,
                name=one.name,
                total_bytes=one.total_bytes,
                free_bytes=one.free_bytes,
                promised_bytes=one.promised_bytes,
                available_bytes=one.available_bytes,
                capability=one.capability,
            )
            for one in found
        )
        send(resp, 200, DeviceList(items=items))

    def capabilities(self, req: falcon.Request, resp: falcon.Response) -> None:
        send(resp, 200, self._capabilities)

    def _ask_manager(self) -> Status | SpoonError:
        try:
            return self._bus.status(PATIENCE_S)
        except SpoonError as error:
            return error

    def _check_database(self) -> Check:
        try:
            known_events(self._reader)
        except DatabaseUnusable as error:
            return Check(ok=False, detail=error.detail)
        return Check(ok=True, detail="readable")


def _readiness(status: Status | SpoonError, database: Check) -> Readiness:
    if isinstance(status, SpoonError):
        unknown = Check(ok=False, detail="unknown")
        manager = Check(ok=False, detail=status.detail)
        return Readiness(status="not_ready", manager=manager, database=database, disk=unknown)
    manager, disk = _check_phase(status), _check_disk(status)
    return Readiness(
        status="ready" if manager.ok and database.ok and disk.ok else "not_ready",
        manager=manager,
        database=database,
        disk=disk,
        api_restarts=0 if status.api is None else status.api.restarts,
        api_last_failure=None if status.api is None else status.api.last_failure,
    )


def _check_phase(status: Status) -> Check:
    return Check(ok=status.phase is Phase.RUNNING, detail=status.phase.value)


def _check_disk(status: Status) -> Check:
    return Check(ok=not status.is_disk_low, detail="low" if status.is_disk_low else "enough free space")


def _capabilities(server: Server) -> Capabilities:
    return Capabilities(
        limits=Limits(
            max_body_bytes=server.max_body_bytes,
            max_pixels=server.max_pixels,
            max_steps=server.max_steps,
            max_count=server.max_count,
            max_queue=server.max_queue,
            max_prompt_characters=LONGEST_PROMPT,
            max_priority=MAX_PRIORITY,
            max_wait_s=MAX_WAIT_S,
            max_streams=server.max_streams,
            max_input_pixels=most_pixels(server.max_pixels),
            max_side=MAX_SIDE_PX,
        ),
        schedulers=tuple(Scheduler),
        scheduler_labels={scheduler: kind.label for scheduler, kind in KINDS.items()},
        control_types=tuple(ControlType),
        prompt_techniques=tuple(PromptTechnique),
        image_fits=tuple(ImageFit),
        mask_modes=tuple(MaskMode),
        inpaint_areas=tuple(InpaintArea),
        inpaint_fills=tuple(InpaintFill),
        model_types=tuple(ModelType),
        model_bases=tuple(ModelBase),
        native_sizes=dict(NATIVE_SIZES_PX),
        variants=tuple(Variant),
        image_file_types=tuple(ImageFileType),
        versions=Versions(automatic_spoon=VERSION, protocol=f"ASB/{MAJOR}.{MINOR}"),
    )
