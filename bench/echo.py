"""The floor under the bus: the same sockets and keys with nothing of ours between them.

python -m bench.echo broker ENDPOINTS_JSON     passes messages on, or sends them straight back
python -m bench.echo worker ENDPOINTS_JSON     sends every message back
"""

import json
import sys
from typing import Final

import zmq

from bench.stage import secure

READY: Final = b"ready"


def main() -> None:
    """Serve until it is ended."""
    role, plan = sys.argv[1], json.loads(sys.argv[2])
    context = zmq.Context()
    if role == "broker":
        serve_broker(context, plan)
    else:
        serve_worker(context, plan)


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
