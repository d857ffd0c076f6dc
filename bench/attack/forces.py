"""The attacks: each bounded in count and time, over the loopback, from a process of its own.

python -m bench.attack.forces NAME HOST PORT SECONDS ENGINE_ID MANAGER_PID
"""

import json
import os
import signal
import struct
import sys
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bench.attack.crowds import Aim, hold, pour
from kernel.process.startup import raise_file_limit

SILENT: Final = 2_000
DRIBBLING: Final = 500
SEVERAL: Final = 64
SMALL_LIMIT: Final = 1_024
HEAD: Final = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
)
JSON: Final = "application/json"
FORM: Final = "multipart/form-data; boundary=b"
SIDE_PX: Final = 4_096


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to attack. `most_open_files`: with how few the server has to do; None: as many as there are."""

    run: Callable[[Aim], None]
    most_open_files: int | None = None


def main() -> None:
    """Attack for so long."""
    name, host, port, seconds, engine_id, manager_pid = sys.argv[1:]
    raise_file_limit()
    until = time.monotonic() + float(seconds)
    ATTACKS[name].run(Aim(host, int(port), until, engine_id, int(manager_pid)))


def silent_and_dribbling(aim: Aim) -> None:
    """2,000 connections that say nothing, and 500 that send a byte a second of a head or a body."""
    half = DRIBBLING // 2
    hold(
        aim,
        [b""] * SILENT
        + [b"GET / HTTP/1.1\r\nX: "] * half
        + [_post(aim, "/v1/jobs", JSON, b"", 30_000)] * half,
    )


def equal_names(aim: Aim) -> None:
    """64 bodies of 600 kB with two equal names at their ends, and unknown names by the megabyte."""
    names = b",".join(b'"n%d":0' % number for number in range(50_000))
    twice = b'{"prompt":"a",' + names + b',"prompt":"b"}'
    unknown = b"{" + b",".join(b'"unknown%d":0' % number for number in range(500_000)) + b"}"
    pour(aim, [_post(aim, "/v1/jobs", JSON, body) for body in [twice] * SEVERAL + [unknown] * 4])


def more_than_descriptors(aim: Aim) -> None:
    """1,500 silent connections to a server that may have 1,024 files open."""
    hold(aim, [b""] * 1_500)


def endless_part_heads(aim: Aim) -> None:
    """Uploads of 2 MB whose form has a part with a head that does not end."""
    head = b"--b\r\nContent-Disposition: form-data; name=" + b"x" * 2_000_000
    pour(aim, [_post(aim, "/v1/models/upload", FORM, head, 30_000_000)] * 10)


def swelling_pictures(aim: Aim) -> None:
    """60 jobs with a small PNG that unpacks to a thousand times its size."""
    picture = b64encode(_flat_png(SIDE_PX)).decode()
    job = json.dumps({"engine_id": aim.engine_id, "prompt": "a", "reference_image_blob": picture}).encode()
    pour(aim, [_post(aim, "/v1/jobs", JSON, job)] * 60)


def stopped_manager(aim: Aim) -> None:
    """130 jobs while the Manager is stopped."""
    job = json.dumps(
        {"engine_id": aim.engine_id, "prompt": "a", "steps": 1, "width": 64, "height": 64}
    ).encode()
    with _stopped(aim.manager_pid):
        pour(aim, [_post(aim, "/v1/jobs", JSON, job)] * 130)


def unfinished_bodies(aim: Aim) -> None:
    """200 bodies of 30 MB of which half comes."""
    body = bytes(15 << 20)
    pour(aim, [_post(aim, "/v1/jobs", JSON, body, 30 << 20)] * 200)


def waits_streams_and_slow_readers(aim: Aim) -> None:
    """Every other way to have a thread for long: waits, streams, answers that nobody reads, slow uploads."""
    get = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    job = json.dumps({"engine_id": aim.engine_id, "prompt": "[slow 50ms]", "steps": 20}).encode()
    hold(
        aim,
        [get % b"/v1/events"] * 50
        + [_post(aim, "/v1/jobs?wait=60", JSON, job)] * 150
        + [get % b"/openapi.json" * 5] * 100
        + [get % b"/v1/health/ready"] * 100,
    )


ATTACKS: Final = MappingProxyType(
    {
        "silent": Attack(silent_and_dribbling),
        "names": Attack(equal_names),
        "descriptors": Attack(more_than_descriptors, SMALL_LIMIT),
        "forms": Attack(endless_part_heads),
        "pictures": Attack(swelling_pictures),
        "stopped": Attack(stopped_manager),
        "bodies": Attack(unfinished_bodies),
        "waits": Attack(waits_streams_and_slow_readers),
    }
)


def _post(aim: Aim, path: str, kind: str, body: bytes, length: int | None = None) -> bytes:
    """A request; with another length than its body has it is never whole."""
    told = len(body) if length is None else length
    return HEAD.format(path=path, host=f"{aim.host}:{aim.port}", kind=kind, length=told).encode() + body


def _flat_png(side_px: int) -> bytes:
    """A picture of one color. Source: PNG (Third Edition), 5.3."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = zlib.compressobj(9)
    packed = b"".join(lines.compress(bytes(1 + 3 * side_px)) for _ in range(side_px)) + lines.flush()
    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    main()
