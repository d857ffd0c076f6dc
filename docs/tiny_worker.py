"""A whole worker that knows nothing but docs/protocol.md: it paints each picture in one plain colour.

    python docs/tiny_worker.py gpu-lab.token tcp://192.168.1.2:7871

It imports nothing of automatic-spoon, so it shows what a worker in another language has to do. It takes one
job at a time and is done with it at once; a real one would paint in another thread than the one that talks.
"""

import hashlib
import os
import socket
import struct
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import zmq

HEAD = struct.Struct("!3sBBB16sQ")
VERSION = "0.2.0"
"""Of automatic-spoon: the Manager's minor version may be one apart."""
HELLO_S, GIVE_UP_S, RESEND_S = 1.0, 30.0, 15.0


class Picture(msgspec.Struct):
    index: int
    image_id: str
    seed: int


class Spec(msgspec.Struct):
    width: int
    height: int
    steps: int


class Job(msgspec.Struct):
    job_id: str
    spec: Spec
    pictures: list[Picture]


class Load(msgspec.Struct):
    engine_id: str


class Order(msgspec.Struct):
    """Every order at once: `type` says which one it is, and so which fields it has."""

    type: str
    epoch: int = 0
    heartbeat_s: float = 1.0
    silence_s: float = 30.0
    load: Load | None = None
    order: Job | None = None
    job_id: str = ""
    lease: int = 0
    index: int = 0


class TinyWorker:
    def __init__(self, token: str, manager: str) -> None:
        self.token = token
        self.epoch = 0
        self.heartbeat_s, self.silence_s = HELLO_S, GIVE_UP_S
        self.heard_at = self.said_at = time.monotonic()
        self.unstored: dict[tuple[int, int], list[bytes]] = {}
        """Pictures that are not acknowledged, by lease and index, as they were sent."""
        self.resend_at = 0.0
        self.is_leaving = False
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        _, _, server_key, _ = token.split("_")
        self.socket.curve_serverkey = bytes.fromhex(server_key)
        self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
        self.socket.connect(manager)

    def run(self) -> int:
        """Work until told to leave. Returns: the exit code."""
        self.enroll()
        while not (self.is_leaving and not self.unstored):
            if self.socket.poll(200) and not self.obey(self.receive()):
                return 3
            now = time.monotonic()
            if now - self.heard_at > self.silence_s:
                return 4
            if self.unstored and now > self.resend_at:
                self.resend()
            if now - self.said_at >= self.heartbeat_s:
                self.say("Ping", {}) if self.epoch else self.enroll()
        self.say("Goodbye", {"reason": "told to leave"})
        self.socket.close(linger=2000)
        self.context.term()
        return 0

    def say(self, kind: str, fields: Mapping[str, object], *blobs: bytes) -> list[bytes]:
        """Send one message. Returns: its frames."""
        head = HEAD.pack(b"ASB", 2, 0, len(blobs), bytes(16), self.epoch)
        frames = [head, msgspec.msgpack.encode({"type": kind, **fields}), *blobs]
        self.socket.send_multipart(frames)
        self.said_at = time.monotonic()
        return frames

    def enroll(self) -> None:
        where = {"version": VERSION, "pid": os.getpid(), "host": socket.gethostname()}
        self.say("Enroll", {"token": self.token} | where)

    def receive(self) -> Order:
        head, body, *_ = self.socket.recv_multipart()
        magic, major, _minor, _blobs, _correlation, epoch = HEAD.unpack(head)
        order = msgspec.msgpack.decode(body, type=Order)
        if (magic, major) != (b"ASB", 2) or (self.epoch and epoch != self.epoch):
            order.type = "of another Manager"
        else:
            self.heard_at = time.monotonic()
        return order

    def obey(self, order: Order) -> bool:
        """Returns: False, if this worker is not wanted."""
        match order.type:
            case "Welcome":
                self.epoch = order.epoch
                self.heartbeat_s, self.silence_s = order.heartbeat_s, order.silence_s
            case "Refuse":
                return False
            case "LoadEngine" if order.load:
                where = {"device": "cpu", "memory_bytes": 0, "capacity": 1}
                self.say("EngineReady", {"engine_id": order.load.engine_id} | where)
            case "RunJob" if order.order and not self.is_leaving:
                self.paint(order.order, order.lease)
            case "CancelJob":
                self.unstored = {key: value for key, value in self.unstored.items() if key[0] > order.lease}
                self.say("JobDropped", {"job_id": order.job_id, "lease": order.lease})
            case "ImageStored":
                self.unstored.pop((order.lease, order.index), None)
            case "Drain":
                self.is_leaving = True
            case "Leave":
                self.is_leaving = True
                self.unstored.clear()
        return True

    def paint(self, job: Job, lease: int) -> None:
        about: dict[str, object] = {"job_id": job.job_id, "lease": lease}
        self.say("Accepted", about)
        steps = job.spec.steps * len(job.pictures)
        for picture in job.pictures:
            file = png(job.spec.width, job.spec.height, picture.seed)
            fields: dict[str, object] = {
                "index": picture.index,
                "image_id": picture.image_id,
                "seed": picture.seed,
                "mime": "image/png",
                "width_px": job.spec.width,
                "height_px": job.spec.height,
                "size_bytes": len(file),
                "sha256": hashlib.sha256(file).hexdigest(),
            }
            frames = self.say("ImageReady", about | fields, file)
            self.unstored[lease, picture.index] = frames
        self.resend_at = time.monotonic() + RESEND_S
        self.say("Progress", about | {"step": steps, "steps": steps})
        self.say("JobDone", about)

    def resend(self) -> None:
        for frames in self.unstored.values():
            self.socket.send_multipart(frames)
        self.resend_at = time.monotonic() + RESEND_S


def png(width_px: int, height_px: int, seed: int) -> bytes:
    """A PNG file in the seed's colour. Source: https://www.w3.org/TR/png-3/"""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))

    colour = hashlib.sha256(str(seed).encode()).digest()[:3]
    rows = (b"\0" + colour * width_px) * height_px
    header = struct.pack("!IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


if __name__ == "__main__":
    sys.exit(TinyWorker(Path(sys.argv[1]).read_text(encoding="ascii").strip(), sys.argv[2]).run())
