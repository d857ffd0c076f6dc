"""A worker that fails every job at once: it measures the way to a worker and back, and nothing else.

python -m bench.failing_worker JOIN_FILE
"""

import sys
from pathlib import Path

import zmq

from bench.stage import secure
from kernel.protocol import codec
from kernel.protocol import worker as wire
from kernel.protocol.ids import EngineId
from kernel.protocol.join import read_join


def main() -> None:
    """Join, get ready, and fail jobs until it is ended."""
    join = read_join(Path(sys.argv[1]).read_bytes())
    socket = zmq.Context().socket(zmq.DEALER)
    secure(
        socket,
        join.server_public_key.encode(),
        (join.public_key.encode(), join.secret_key.encode()),
    )
    socket.rcvtimeo = 1000
    socket.connect(join.endpoint)
    orders = codec.order_decoder()
    hello = wire.Hello(
        role=join.role, worker_id=join.worker_id, token=join.token, version="0", pid=0, host="bench"
    )
    socket.send_multipart(codec.encode(hello))
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
