"""The API process: wires the bus, the views and the web server, and runs until it is told to stop.

    SIGTERM, SIGINT   accept no more requests, end the streams, finish requests in progress (5 s), exit;
                      further signals have no effect

Exit codes: 0 stopped as asked, or the parent had exited; 78 the configuration cannot be used (sysexits(3)).
"""

import argparse
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

from api.bus import Bus
from api.http.app import make_app
from api.http.framework.body_intake import BodyTerms
from api.http.framework.server import HttpServer, is_loopback
from api.http.framework.uploads import upload_limits
from api.hub import Hub
from api.key_ring import KeyRing
from conf.load import KEY_VARIABLE, load
from conf.settings import Server, Settings
from conf.tokens import token_variables
from kernel.process import log
from kernel.process.keys import derived_secret
from kernel.process.memory import collect_seldom, map_large_blocks
from kernel.process.startup import die_with_parent, forget_variable, hide_memory, make_files_private
from kernel.protocol.endpoints import API_URL_FILE
from kernel.protocol.errors import BadConfiguration, DatabaseUnusable
from kernel.protocol.version import VERSION
from kernel.views.reader import Reader

GRACE_S: Final = 5.0
"""How long requests in progress may take to end."""
SWITCH_S: Final = 0.0002
"""Seconds that a computing thread may delay another one each time that it needs the interpreter; Python's
default is 5 ms. A list needs it some 25 times, after each row that SQLite finds (adr/0062)."""
EXIT_CONFIGURATION: Final = 78
SESSIONS: Final = "sessions of browsers"
"""What a secret of this installation is for."""

_log: Final = logging.getLogger("api")


def main() -> int:
    """Run the API until it is asked to stop. Returns: the exit code."""
    parser = argparse.ArgumentParser(prog="python -m api.main", description="Run the REST API.")
    parser.add_argument("--config", type=Path, help="configuration file (default: as `spoon` finds it)")
    parser.add_argument("--parent-pid", type=int, help="exit when this parent process exits")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to finish, Ctrl-C just ends it
    log.start("api", process="api")  # the Manager and the API share one log
    make_files_private()
    hide_memory()
    try:
        settings = load(options.config, os.environ)
        for name in (KEY_VARIABLE, *token_variables(settings.models.tokens)):
            forget_variable(name)  # an API that was started by hand inherits them like the Manager
        serve(settings, options.parent_pid)
    except BadConfiguration as error:
        print(f"api: {error.detail}", file=sys.stderr)
        return EXIT_CONFIGURATION
    return 0


def serve(settings: Settings, parent_pid: int | None = None) -> None:
    """Serve until a signal, or until the parent exits.

    Logs one line, `action=api_listening url=...`, once it listens; a terminal gets a friendlier one, too.

    Raises: BadConfiguration, if the bus cannot be joined or the address cannot be used.
    """
    if parent_pid is not None and not die_with_parent(parent_pid, signal.SIGTERM):
        return
    map_large_blocks()
    sys.setswitchinterval(SWITCH_S)
    hub, reader = Hub(), Reader(settings.database_file)
    bus = Bus(settings.bus_folder, hub)
    bus.open()
    try:
        secret = derived_secret(settings.bus_folder, SESSIONS)
        app = make_app(settings, bus, reader, hub, lambda: time.time_ns() // 1_000_000, secret)
        _check_open(settings.server, app.access.keys)
        bodies = BodyTerms(upload_limits(settings), app.access)
        server = HttpServer(app, settings.server, bodies, lambda: bus.is_silent, app.deferral)
        server.report_to(app.observe)
        collect_seldom()
        _run(server, hub, settings.bus_folder / API_URL_FILE)
    finally:
        bus.close()
        reader.close()
    for number in (signal.SIGTERM, signal.SIGINT):  # Python itself would remove the handlers at its end
        signal.signal(number, signal.SIG_IGN)
    _log.info(log.line("api_stopped"))


def _check_open(server: Server, keys: KeyRing) -> None:
    """Check that no stranger can use a server without keys: also not through a proxy.

    Raises: BadConfiguration.
    """
    is_private = is_loopback(server.host)
    if server.open_without_keys or (is_private and not server.trusted_proxies):
        return
    try:
        has_keys = keys.has_keys()
    except DatabaseUnusable:  # as before the Manager's first start
        has_keys = False
    if not has_keys:
        where = "server.trusted_proxies names a proxy" if is_private else f"server.host is {server.host}"
        raise BadConfiguration(
            f"{where}, which other machines can reach, but there are no API keys: make "
            "one first (spoon keys create NAME --role admin), or let everybody who reaches the port use this "
            "server with server.open_without_keys = true"
        )


def _run(server: HttpServer, hub: Hub, url_file: Path) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _write(url_file, server.url)
    _log.info(log.line("api_listening", url=server.url))
    if sys.stdout.isatty():
        print(f"\n  automatic-spoon {VERSION} is ready: {server.url}/  (Ctrl-C stops it)\n", flush=True)
    server.run()
    url_file.unlink(missing_ok=True)
    hub.close()
    server.finish(GRACE_S)


def _write(file: Path, url: str) -> None:
    """Write atomically: another process reads the whole URL or none."""
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{url}\n", encoding="utf-8")
    fresh.replace(file)


if __name__ == "__main__":
    sys.exit(main())
