"""The API process: `python -m api.main --config FILE` wires the bus, the views and the web server."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import click

from api.bus import Bus
from api.http.app import make_app
from api.http.server import HttpServer
from api.hub import Hub
from api.parent import die_with
from conf.load import load
from conf.settings import Settings
from kernel.protocol.errors import BadConfiguration, SpoonError
from kernel.views.reader import Reader

GRACE_S: Final = 5.0
"""How long requests in flight may take to end."""
URL_FILE: Final = "api.url"
"""In the bus folder: where the API listens, for those who want to call it."""

_log = logging.getLogger("spoon.api")


def serve(settings: Settings, parent_pid: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent is gone.

    Prints one line, `action=api_listening url=...`, once it listens.
    Raises: BadConfiguration, if the bus cannot be joined or the address cannot be used.
    """
    if parent_pid is not None and not die_with(parent_pid):
        return
    hub, reader = Hub(), Reader(settings.database_file)
    bus = Bus(settings.bus_folder, hub)
    server = _listen(settings, bus, reader, hub)
    bus.open()
    stops = _on_signals(server.stop)
    url_file = settings.bus_folder / URL_FILE
    try:
        _announce(url_file, server.url)
        server.run()
        stops.restore()
        hub.close()
        server.finish(GRACE_S)
    finally:
        url_file.unlink(missing_ok=True)
        bus.close()
        reader.close()
    _log.info("action=api_stopped")
