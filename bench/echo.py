"""The floor under the bus: the same sockets and keys with nothing of ours between them.

python -m bench.echo broker ENDPOINTS_JSON     passes messages on, or sends them straight back
python -m bench.echo worker ENDPOINTS_JSON     sends every message back
python -m bench.echo committer ENDPOINTS_JSON  keeps every message, and sends it back once it is durable
"""

import json
import sys
from contextlib import suppress
from typing import Final

import apsw
import zmq

from bench.stage import secure

READY: Final = b"ready"


def main() -> None:
    """Serve until it is ended."""
    role, plan = sys.argv[1], json.loads(sys.argv[2])
    context = zmq.Context()
    {"broker": serve_broker, "worker": serve_worker, "committer": serve_committer}[role](context, plan)


def serve_broker(context: zmq.Context[zmq.Socket[bytes]], plan: dict[str, str]) -> None:
    """Front messages that begin with b"w" go to the worker, others straight back."""
    front, back = router(context, plan, "front"), router(context, plan, "back")
    worker_id = b""
    poller = zmq.Poller()
    poller.register(front, zmq.POLLIN)
    poller.register(back, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            peer, *frames = socket.recv_multipart()
            if socket is back and frames[0] == READY:
                worker_id = peer
            elif socket is back:
                front.send_multipart(frames)
            elif frames[0] == b"w":
                back.send_multipart([worker_id, peer, *frames])
            else:
                front.send_multipart([peer, *frames])


def serve_committer(context: zmq.Context[zmq.Socket[bytes]], plan: dict[str, str]) -> None:
    """All that has come is one transaction, as durable as the Manager's; nothing else is done with it."""
    front = router(context, plan, "front")
    connection = apsw.Connection(plan["database"])
    for name, value in (("journal_mode", "wal"), ("synchronous", "full")):
        connection.pragma(name, value)
    connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
    while True:
        messages = [front.recv_multipart()]
        with suppress(zmq.Again):
            while True:
                messages.append(front.recv_multipart(zmq.NOBLOCK))
        with connection:
            connection.executemany("INSERT INTO message (body) VALUES (?)", [(one[-1],) for one in messages])
        for message in messages:
            front.send_multipart(message)


def router(context: zmq.Context[zmq.Socket[bytes]], plan: dict[str, str], name: str) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, plan["secret"].encode())
    socket.bind(plan[name])
    return socket


def serve_worker(context: zmq.Context[zmq.Socket[bytes]], plan: dict[str, str]) -> None:
    socket = context.socket(zmq.DEALER)
    secure(socket, plan["public"].encode(), zmq.curve_keypair())
    socket.connect(plan["back"])
    socket.send(READY)
    while True:
        socket.send_multipart(socket.recv_multipart())


if __name__ == "__main__":
    main()
