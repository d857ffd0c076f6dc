"""A server whose process has no descriptor left while somebody connects: what it costs, whether it goes on.

Prints the status of the answer that comes once there are descriptors again, and the seconds of CPU time.
"""

import logging
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[3]))

import falcon

from api.http.framework.server import HttpServer
from conf.settings import Server

FILES: Final = 128
WITHOUT_S: Final = 2.0
ASKED: Final = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Here:
    """Answers 200."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.text = "here"


def main() -> None:
    """Take all descriptors, connect, give them back, ask."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App()
    app.add_route("/nowhere", Here())
    server = HttpServer(app, Server(port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    clients = [socket.socket() for _ in range(8)]
    taken = take_all()
    for client in clients:
        client.connect((host, int(port)))  # the kernel takes them in, the server cannot
    began_s = time.process_time()
    time.sleep(WITHOUT_S)
    cpu_s = time.process_time() - began_s
    for descriptor in taken:
        os.close(descriptor)
    clients[0].settimeout(20)
    clients[0].sendall(ASKED)
    print(clients[0].recv(4096)[9:12].decode(), cpu_s)
    server.stop()
    thread.join()
    server.finish(0.1)
    for client in clients:
        client.close()


def take_all() -> list[int]:
    """Every descriptor that there is."""
    taken: list[int] = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return taken


if __name__ == "__main__":
    main()
