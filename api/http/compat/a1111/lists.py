"""What A1111's clients list: models, samplers, and what this server has none of."""

from collections.abc import Sequence
from typing import Final

import falcon
import msgspec

from api.http.compat.a1111 import answers as a
from api.http.compat.a1111.controlnet import UNITS, control_types, model_names, module_names
from api.http.compat.a1111.models import ModelLists
from api.http.compat.a1111.options import OptionStore, Settings
from api.http.compat.a1111.reading import strange_parameters
from api.http.compat.a1111.samplers import samplers, schedule_types
from api.http.compat.a1111.sending import send_told
from api.http.compat.a1111.tasks import client_of
from api.port import BusPort
from conf.settings import Server
from kernel.protocol.status import DeviceStatus

SCRIPTS: Final = ("adetailer", "controlnet", "controlnet m2m")
"""By the last, clients tell that there is ControlNet; the first is taken, and told to have no effect."""
CONTROLNET_VERSION: Final = 2
PATIENCE_S: Final = 0.9
"""Seconds that the Manager is waited for."""
NO_UPSCALER: Final = "None"
RESAMPLERS: Final = ("Lanczos", "Nearest")
Listed = msgspec.Struct | Sequence[msgspec.Struct]


class Lists:
    """Everything that is only read."""

    def __init__(
        self, bus: BusPort, models: ModelLists, settings: Settings, store: OptionStore, server: Server
    ) -> None:
        self._bus = bus
        self._models = models
        self._settings = settings
        self._store = store
        self._server = server

    def checkpoints(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, self._models.checkpoints())

    def vaes(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, self._models.vaes())

    def loras(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, self._models.loras())

    def embeddings(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Those that fit the caller's checkpoint, and the others."""
        chosen = self._settings.chosen_or_none(self._store.load(client_of(req).key))
        base = None if chosen is None else chosen.checkpoint.model_base
        _send(req, resp, self._models.embeddings(base))

    def samplers(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, samplers())

    def schedulers(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, schedule_types())

    def upscalers(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The first is none at all: clients count on it."""
        names = (NO_UPSCALER, *RESAMPLERS)
        _send(req, resp, tuple(a.UpscalerItem(name=name) for name in names))

    def nothing(self, req: falcon.Request, resp: falcon.Response) -> None:
        """What this server has none of."""
        _send(req, resp, ())

    def scripts(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, a.ScriptNames(txt2img=SCRIPTS, img2img=SCRIPTS))

    def script_infos(self, req: falcon.Request, resp: falcon.Response) -> None:
        items = tuple(
            a.ScriptItem(name=name, is_alwayson=True, is_img2img=is_img2img)
            for name in SCRIPTS[:2]
            for is_img2img in (False, True)
        )
        _send(req, resp, items)

    def flags(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Nothing of the configuration that is not known to who has reached this server."""
        host = self._server.host
        is_listening = host not in ("localhost", "::1") and not host.startswith("127.")
        _send(req, resp, a.Flags(listen=is_listening, port=self._server.port))

    def memory(self, req: falcon.Request, resp: falcon.Response) -> None:
        devices = self._bus.status(PATIENCE_S).devices
        cpu = next((one for one in devices if one.device == "cpu"), None)
        gpu = next((one for one in devices if one.device != "cpu"), None)
        none: dict[str, object] = {"error": "unavailable"}
        ram = none if cpu is None else _amounts(cpu)
        cuda = none if gpu is None else _cuda(gpu)
        _send(req, resp, a.Memory(ram=ram, cuda=cuda))

    def controlnet_version(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, a.ControlNetVersion(version=CONTROLNET_VERSION))

    def controlnet_settings(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, a.ControlNetSettings(control_net_unit_count=UNITS))

    def controlnet_models(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, a.ControlNetModels(model_list=model_names(self._models)), "update")

    def controlnet_modules(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, a.ControlNetModules(module_list=module_names()), "alias_names")

    def controlnet_types(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send(req, resp, control_types(self._models))


def _send(req: falcon.Request, resp: falcon.Response, output: Listed, *known: str) -> None:
    send_told(resp, output, strange_parameters(req, known))


def _amounts(device: DeviceStatus) -> dict[str, object]:
    used = device.total_bytes - device.free_bytes
    return {"free": device.free_bytes, "used": used, "total": device.total_bytes}


def _cuda(device: DeviceStatus) -> dict[str, object]:
    """What the workers allocate is not known here: only what the device tells."""
    used = {"current": device.total_bytes - device.free_bytes, "peak": 0}
    none = {"current": 0, "peak": 0}
    return {
        "system": _amounts(device),
        "active": used,
        "allocated": used,
        "reserved": used,
        "inactive": none,
        "events": {"retries": 0, "oom": 0},
    }
