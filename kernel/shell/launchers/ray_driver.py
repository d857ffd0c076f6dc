"""The driver of a pool with `launcher = "ray"`: `python -m kernel.shell.launchers.ray_driver PARENT_PID`.

It is the only process with Ray in it: Ray has threads, gRPC and a runtime that may end a process, which the
Manager must not have (adr/0079). One actor is one worker; Ray places it and does nothing else. Its own
restarts and retries are off, because the core decides what follows an end. The actors are not detached, so
Ray ends them when this process is gone. Units: monotonic seconds.
"""

import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never

import ray
from ray import ObjectRef, cloudpickle
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from conf.pools import Pool, filled
from kernel.process.log import line, start
from kernel.process.signals import SignalPipe
from kernel.process.startup import die_with_parent, make_files_private
from kernel.shell.launchers import ray_actor
from kernel.shell.launchers.driver_loop import drive
from kernel.shell.launchers.driver_messages import (
    Configure,
    Ended,
    Kill,
    Launch,
    Order,
    Report,
    Running,
    Stop,
    Waiting,
)
from kernel.shell.launchers.exits import describe_exit
from kernel.shell.launchers.ray_actor import SIGTERM, WorkerActor, capacity

LOOK_S: Final = 0.25
"""Between two looks at the actors."""
SLOW_S: Final = 3.0
"""An actor that has no place after this time waits for capacity."""
ASK_S: Final = 5.0
"""Between two questions for the reason."""
GIVE_UP_S: Final = 60.0
"""An actor that was killed this long ago, and of which Ray says nothing, is given up."""
CONNECT_S: Final = 5.0
METHODS_AT_ONCE: Final = 4
LONGEST_STATUS: Final = 300
MANAGER_GONE: Final = 4

log = logging.getLogger("launcher")


@dataclass(slots=True)
class RayWorker:
    """One actor."""

    name: str
    actor: ActorHandle
    started: ObjectRef
    """Ready when the actor has a place and has started the worker."""
    log_file: Path
    since_s: float
    ended: ObjectRef | None = None
    reason: ObjectRef | None = None
    ask_at_s: float = 0.0
    told: str | None = None
    killed_at_s: float | None = None


@dataclass(slots=True)
class RayDriver:
    """Runs the workers of one pool in a Ray cluster."""

    configure: Configure
    _workers: dict[str, RayWorker] = field(default_factory=dict)
    _look_at_s: float = 0.0
    _reports: list[Report] = field(default_factory=list)

    def obey(self, order: Order, now_s: float) -> None:
        match order:
            case Launch(name=name, log_file=log_file):
                self._launch(name, Path(log_file), now_s)
            case Stop(name=name):
                if (worker := self._workers.get(name)) is not None:
                    self._stop(worker, now_s)
            case Kill(name=name):
                if (worker := self._workers.get(name)) is not None:
                    _kill(worker, now_s)
            case Configure():
                pass
            case _:
                assert_never(order)

    def tend(self, now_s: float) -> list[Report]:
        for worker in list(self._workers.values()):
            if worker.ended is None:
                self._look_at_start(worker, now_s)
            else:
                self._look_at_end(worker, now_s)
        self._look_at_s = now_s + LOOK_S
        reports, self._reports = self._reports, []
        for report in reports:
            log.info(line(type(report).__name__.lower(), name=report.name))
        return reports

    def next_s(self) -> float | None:
        return self._look_at_s if self._workers else None

    def end_all(self, now_s: float) -> None:
        for worker in self._workers.values():
            _kill(worker, now_s)

    def is_idle(self) -> bool:
        return not self._workers

    def _launch(self, name: str, log_file: Path, now_s: float) -> None:
        try:
            _connect(self.configure)
            actor = _new_actor(self.configure.terms)
            started = actor.start.remote(_command(name, self.configure))
        except (RayError, OSError, ValueError, RuntimeError) as error:
            self._reports.append(Ended(name=name, status=f"Ray: {words_of(error)}"))
            return
        self._workers[name] = RayWorker(name, actor, started, log_file, now_s, ask_at_s=now_s + SLOW_S)

    def _look_at_start(self, worker: RayWorker, now_s: float) -> None:
        """Tell that the worker runs, why it does not yet, or that it never will."""
        if not _is_ready(worker.started):
            self._given_up(worker, now_s)
            self._tell_why(worker, now_s)
            return
        try:
            host: str = ray.get(worker.started)
        except RayError as error:
            _end_actor(worker)
            self._end(worker, f"Ray: {words_of(error)}")
            return
        log.info(line("placed", name=worker.name, host=host))
        worker.ended = worker.actor.wait.remote()
        self._reports.append(Running(name=worker.name))

    def _look_at_end(self, worker: RayWorker, now_s: float) -> None:
        assert worker.ended is not None, "it has been started"
        if not _is_ready(worker.ended):
            self._given_up(worker, now_s)
            return
        try:
            code, words = ray.get(worker.ended)
        except ActorUnavailableError:  # Ray does not know yet whether its node is lost
            worker.ended = worker.actor.wait.remote()
            self._given_up(worker, now_s)
        except RayError as error:
            self._end(worker, f"Ray: {words_of(error)}")
        else:
            _end_actor(worker)
            self._end(worker, describe_exit(code), words, code)

    def _tell_why(self, worker: RayWorker, now_s: float) -> None:
        if worker.reason is not None and _is_ready(worker.reason):
            reason = _said(worker.reason)
            worker.reason, worker.ask_at_s = None, now_s + ASK_S
            if reason != worker.told:
                worker.told = reason
                self._reports.append(Waiting(name=worker.name, reason=reason))
        elif worker.reason is None and now_s >= worker.ask_at_s:
            worker.reason = (
                ray.remote(capacity)
                .options(num_cpus=0, max_retries=0)
                .remote(demand_of(self.configure.terms))
            )

    def _stop(self, worker: RayWorker, now_s: float) -> None:
        if worker.ended is None:
            _kill(worker, now_s)  # there is nothing yet that could leave by itself
        else:
            worker.actor.send.remote(SIGTERM)

    def _given_up(self, worker: RayWorker, now_s: float) -> None:
        if worker.killed_at_s is not None and now_s >= worker.killed_at_s + GIVE_UP_S:
            self._end(worker, "given up: Ray does not say that it ended")

    def _end(self, worker: RayWorker, status: str, words: str = "", code: int | None = None) -> None:
        if self._workers.pop(worker.name, None) is None:
            return
        with suppress(OSError), worker.log_file.open("a", encoding="utf-8") as out:
            out.write(words)
        exit_code = code if code is not None and code >= 0 else None
        self._reports.append(Ended(name=worker.name, status=status, last_words=words, exit_code=exit_code))


def demand_of(terms: Pool) -> dict[str, float]:
    """What an actor asks of its node, by the names that Ray gives to resources."""
    demand = {"CPU": terms.num_cpus, "GPU": terms.num_gpus, **terms.amounts}
    if terms.accelerator_type is not None:
        demand[f"accelerator_type:{terms.accelerator_type}"] = 0.001
    return {name: amount for name, amount in demand.items() if amount > 0}


def words_of(error: Exception) -> str:
    """What an error of Ray says, in one line, without the particulars of the actor."""
    lines = [one.strip() for one in str(error).splitlines() if one.strip() and not one.startswith("\t")]
    said = [one for one in lines if one != ActorDiedError.BASE_ERROR_MSG]
    return " ".join(said or lines or [type(error).__name__])[:LONGEST_STATUS]


def _connect(configure: Configure) -> None:
    """Raises: OSError, RuntimeError, ValueError, if there is no such cluster."""
    if not ray.is_initialized():
        address = configure.terms.address
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if port.isdecimal():  # Ray itself would try for minutes, and obey no order meanwhile
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        ray.init(
            address=address,
            namespace=f"spoon-{configure.pool}",
            log_to_driver=False,
            configure_logging=False,
        )


def _new_actor(terms: Pool) -> ActorHandle:
    """Without restarts and retries by Ray: the core decides what follows an end."""
    return (
        ray.remote(WorkerActor)
        .options(
            num_cpus=terms.num_cpus,
            num_gpus=terms.num_gpus,
            accelerator_type=terms.accelerator_type,
            resources=terms.amounts,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=METHODS_AT_ONCE,
        )
        .remote()
    )


def _command(name: str, configure: Configure) -> list[str]:
    terms = configure.terms
    values = {
        "name": name,
        "pool": configure.pool,
        "manager": terms.manager or "",
        "token_file": terms.token_file or "",
    }
    return filled(terms.worker, values)


def _is_ready(ref: ObjectRef) -> bool:
    ready, _ = ray.wait([ref], timeout=0)
    return bool(ready)


def _said(reason: ObjectRef) -> str:
    try:
        return str(ray.get(reason))
    except RayError as error:
        return f"Ray has no place for it yet ({words_of(error)})"


def _kill(worker: RayWorker, now_s: float) -> None:
    if worker.killed_at_s is None:
        worker.killed_at_s = now_s
    _end_actor(worker)


def _end_actor(worker: RayWorker) -> None:
    with suppress(RayError, ValueError):
        ray.kill(worker.actor, no_restart=True)


def main() -> int:
    """Serve the Manager until it is gone."""
    start("launcher", process="launcher")
    make_files_private()
    if not die_with_parent(int(sys.argv[1]), signal.SIGKILL):
        return MANAGER_GONE
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cloudpickle.register_pickle_by_value(ray_actor)
    return drive(RayDriver, SignalPipe([]))


if __name__ == "__main__":
    sys.exit(main())
