"""Simulated workers of `bench.fleet`, many in one thread: each with a connection, a key pair and an engine.

python -m bench.fleet_workers ENDPOINT TOKEN_FILE COUNT IMAGE_BYTES

They speak the workers' protocol to the letter, but draw nothing: an image is the same bytes each time. A line
says when all have an engine. Then a line on the standard input, `SECONDS TAKES_S`, has them work for so long,
each job taking so many seconds (`inf`: they only beat), and is answered with a line of figures. At the end of
the input they print the ids of the jobs that they have done.
"""

import hashlib
import heapq
import json
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from kernel.process.dealer import CurveKeys, Dealer, DealerContext, DealerOptions
from kernel.protocol import codec, worker
from kernel.protocol.codec import Frame
from kernel.protocol.ids import Epoch, JobId
from kernel.protocol.version import VERSION
from kernel.protocol.worker_tokens import server_key_of

CAPACITY: Final = 1
MEMORY_BYTES: Final = 8 << 30
DEVICE: Final = worker.WorkerDevice(
    device="cuda:0", name="simulated", total_bytes=24 << 30, free_bytes=23 << 30, capability="8.9"
)
RECEIVED_AT_ONCE: Final = 64
PATIENCE_S: Final = 120.0
PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass
class Figures:
    """What the workers of this process have seen."""

    orders: int = 0
    waited_s: list[float] = field(default_factory=list)
    """From a job's last report to the next order; the worker has another job meanwhile."""
    round_trips_s: list[float] = field(default_factory=list)
    """From a heartbeat to its answer."""


Call = Callable[[float], None]
"""Something to do at a time, which it gets."""


class Simulated:
    """One worker."""

    def __init__(self, fleet: "Fleet", number: int, dealer: Dealer) -> None:
        self.fleet, self.number, self._dealer = fleet, number, dealer
        self.socket = dealer.socket
        self.is_ready = False
        self._epoch = Epoch(0)
        self._jobs: list[worker.RunJob] = []
        self._is_busy = False
        self._done_s: float | None = None
        self._pinged_s = 0.0
        self.heartbeat_s = 1.0

    def say(self, message: worker.WorkerReport, blobs: Sequence[Frame] = ()) -> None:
        """Send a report. Raises: SystemExit, if the connection takes no more."""
        if not self._dealer.send(codec.encode(message, epoch=self._epoch, blobs=blobs), copy=False):
            raise SystemExit("gate failed: a worker's queue of messages is full")

    def enroll(self) -> None:
        self.say(
            worker.Enroll(
                token=self.fleet.token,
                version=VERSION,
                pid=os.getpid(),
                host=f"host-{self.number:04d}",
                devices=(DEVICE,),
            )
        )

    def read(self) -> None:
        """Handle what has come."""
        for frames in self._dealer.received(RECEIVED_AT_ONCE):
            received = self.fleet.decoder.decode(frames)
            self._obey(received.body)

    def ping(self, now_s: float) -> None:
        self._pinged_s = now_s
        self.say(worker.Ping())
        self.fleet.later(now_s + self.heartbeat_s, self.ping)

    def _obey(self, order: worker.WorkerOrder) -> None:
        now_s = time.monotonic()
        match order:
            case worker.Welcome():
                self._epoch, self.heartbeat_s = order.epoch, order.heartbeat_s
                self.fleet.later(now_s + self.heartbeat_s * (self.number % 100) / 100, self.ping)
            case worker.LoadEngine():
                self.say(
                    worker.EngineReady(
                        engine_id=order.load.engine_id,
                        device=DEVICE.device,
                        memory_bytes=MEMORY_BYTES,
                        capacity=CAPACITY,
                    )
                )
                self.is_ready = True
            case worker.RunJob():
                self._take(order, now_s)
            case worker.ImageStored():
                self._end(order, now_s)
            case worker.Pong():
                self.fleet.figures.round_trips_s.append(now_s - self._pinged_s)
            case worker.Refuse() if order.retry_after_s is not None:
                self.fleet.later(now_s + order.retry_after_s, lambda _: self.enroll())
            case worker.AdjustEngine():
                pass
            case _:
                raise SystemExit(f"gate failed: a worker was told {order}")

    def _take(self, order: worker.RunJob, now_s: float) -> None:
        if self._done_s is not None:
            self.fleet.figures.waited_s.append(now_s - self._done_s)
            self._done_s = None
        self.fleet.figures.orders += 1
        self._jobs.append(order)
        self.say(worker.Accepted(job_id=order.order.job_id, lease=order.lease))
        self.work(now_s)

    def work(self, now_s: float) -> None:
        """Begin the next job, if there is one, and work is wanted."""
        if self._jobs and not self._is_busy and self.fleet.is_working:
            self._is_busy = True
            self.fleet.later(now_s + self.fleet.takes_s, self._deliver)

    def _deliver(self, now_s: float) -> None:
        job = self._jobs[0]
        spec = job.order.spec
        self.say(
            worker.ImageReady(
                job_id=job.order.job_id,
                lease=job.lease,
                index=0,
                image_id=job.order.pictures[0].image_id,
                seed=spec.seed,
                mime="image/png",
                width_px=spec.width_px,
                height_px=spec.height_px,
                size_bytes=len(self.fleet.image),
                sha256=self.fleet.digest,
            ),
            (self.fleet.image,),
        )

    def _end(self, stored: worker.ImageStored, now_s: float) -> None:
        job = self._jobs.pop(0)
        if stored.job_id != job.order.job_id:
            raise SystemExit("gate failed: the image of another job was stored")
        self.fleet.done.append(job.order.job_id)
        self._is_busy = False
        self.say(worker.JobDone(job_id=job.order.job_id, lease=job.lease))
        self._done_s = now_s
        self.work(now_s)


class Fleet:
    """The workers of this process."""

    def __init__(self, endpoint: str, token: str, count: int, image_bytes: int) -> None:
        self.token = token
        self.decoder = codec.order_decoder()
        self.image = (PNG + os.urandom(image_bytes))[:image_bytes]
        self.digest = hashlib.sha256(self.image).hexdigest()
        self.figures = Figures()
        self.done: list[JobId] = []
        self.takes_s = 0.0
        self.is_working = False
        self._due: list[tuple[float, int, Call]] = []
        self._numbers = 0
        self._poller = zmq.Poller()
        context: DealerContext = zmq.Context()
        context.set(zmq.MAX_SOCKETS, 4 * count + 16)
        self._workers = [self._connect(context, endpoint, number) for number in range(count)]
        self._of = {one.socket: one for one in self._workers}

    def _connect(self, context: DealerContext, endpoint: str, number: int) -> Simulated:
        public, secret = zmq.curve_keypair()
        keys = CurveKeys(z85.encode(server_key_of(self.token)), public, secret)
        one = Simulated(self, number, Dealer(context, endpoint, keys, DealerOptions()))
        self._poller.register(one.socket, zmq.POLLIN)
        return one

    def later(self, at_s: float, call: Call) -> None:
        """Have a method called, with the time."""
        self._numbers += 1
        heapq.heappush(self._due, (at_s, self._numbers, call))

    def come(self) -> None:
        """Enroll all, and wait until each has an engine."""
        for one in self._workers:
            one.enroll()
        self._until(lambda: all(one.is_ready for one in self._workers))

    def work(self, seconds: float, takes_s: float) -> dict[str, object]:
        """Have all work for so long. Returns: the figures."""
        self.figures, before = Figures(), len(self.done)
        self.takes_s, self.is_working = takes_s, takes_s != inf
        begin_s = now_s = time.monotonic()
        for number, one in enumerate(self._workers if self.is_working else ()):  # they have not begun at once
            self.later(now_s + takes_s * number / len(self._workers), one.work)
        while now_s < begin_s + seconds:
            self._turn(begin_s + seconds)
            now_s = time.monotonic()
        self.is_working = False
        found = self.figures
        return {
            "orders": found.orders,
            "done": len(self.done) - before,
            "seconds": now_s - begin_s,
            "waited_s": found.waited_s,
            "round_trips_s": found.round_trips_s,
        }

    def rest(self) -> str:
        """Beat until the next line of the standard input comes. Returns: the line."""
        while not select.select([sys.stdin], [], [], 0)[0]:
            self._turn(time.monotonic() + 0.2)
        return sys.stdin.readline()

    def _until(self, is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            if time.monotonic() > end_s:
                raise SystemExit("gate failed: not every worker got an engine")
            self._turn(time.monotonic() + 0.1)

    def _turn(self, until_s: float) -> None:
        next_s = self._due[0][0] if self._due else until_s
        timeout_ms = max(0.0, min(until_s, next_s) - time.monotonic()) * 1e3
        for socket, _ in self._poller.poll(round(timeout_ms)):
            self._of[socket].read()
        now_s = time.monotonic()
        while self._due and self._due[0][0] <= now_s:
            _, _, call = heapq.heappop(self._due)
            call(now_s)


def main() -> None:
    """Come, work as told, and leave with the end of the standard input."""
    endpoint, token_file, count, image_bytes = sys.argv[1:]
    fleet = Fleet(endpoint, Path(token_file).read_text().strip(), int(count), int(image_bytes))
    fleet.come()
    print("ready", flush=True)
    while line := fleet.rest():
        seconds, takes_s = map(float, line.split())
        print(json.dumps(fleet.work(seconds, takes_s)), flush=True)
    print(json.dumps(fleet.done), flush=True)


if __name__ == "__main__":
    main()
