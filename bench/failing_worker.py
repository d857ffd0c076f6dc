"""A worker that fails every job at once: it measures the way to a worker and back, and nothing else.

python -m bench.failing_worker TOKEN_FILE ENDPOINT
"""

import sys
from pathlib import Path

import zmq

from bench.stage import secure
from kernel.protocol import codec
from kernel.protocol import worker as wire
from kernel.protocol.ids import EngineId
from kernel.protocol.version import VERSION
from kernel.protocol.worker_tokens import server_key_of


def main() -> None:
    """Join, get ready, and fail jobs until it is ended."""
    token = Path(sys.argv[1]).read_text()
    socket = zmq.Context().socket(zmq.DEALER)
    secure(socket, server_key_of(token), zmq.curve_keypair())
    socket.rcvtimeo = 1000
    socket.connect(sys.argv[2])
    orders = codec.order_decoder()
    enroll = wire.Enroll(token=token, version=VERSION, pid=0, host="bench")
    socket.send_multipart(codec.encode(enroll))
    while True:
        try:
            frames = socket.recv_multipart()
        except zmq.Again:
            socket.send_multipart(codec.encode(wire.Ping()))
            continue
        match orders.decode(frames).body:
            case wire.LoadEngine(load=load):
                socket.send_multipart(codec.encode(ready(load.engine_id)))
            case wire.RunJob(lease=lease, order=order):
                failed = wire.JobFailed(job_id=order.job_id, lease=lease, code="bench", text="bench")
                socket.send_multipart(codec.encode(failed))


def ready(engine_id: EngineId) -> wire.EngineReady:
    return wire.EngineReady(engine_id=engine_id, device="cpu", memory_bytes=0, capacity=64)


if __name__ == "__main__":
    main()
