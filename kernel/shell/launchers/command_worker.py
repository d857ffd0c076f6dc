"""One worker that the commands of a pool start, watch and end.

Without `poll`, `start` runs as long as the worker does (`ssh`, `srun`): its end is the worker's. With `poll`,
`start` may return at once (`docker run -d`, `kubectl run`, `sbatch`), and `poll` says how the worker is; a
`start` that fails is the worker's end all the same. A poll that fails says nothing, because networks and API
servers fail too; three in a row mean that the worker is gone. Units: monotonic seconds.
"""

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from kernel.shell.launchers.commands import Commands, Step, end_group, run, signal_group
from kernel.shell.launchers.driver_messages import Ended, Report, Running, Waiting
from kernel.shell.launchers.exits import describe_exit, tail_of
from kernel.shell.launchers.poll_words import Answer, Said, read_poll

STEP_S: Final = 30.0
"""The most that one poll, stop or kill may take."""
MOST_UNKNOWN: Final = 3
"""Polls in a row that say nothing: the worker is gone."""
GIVE_UP_S: Final = 60.0
"""A worker that was killed this long ago and does not end is given up."""


class CommandWorker:
    """A worker from its start to its end. `tend` it after every exit of a child, and when it is due."""

    def __init__(self, name: str, commands: Commands, log_file: Path, now_s: float) -> None:
        """Raises: OSError, if its start command cannot be run."""
        self.name = name
        self._commands, self._log_file = commands, log_file
        self._step: Step | None = None
        self._order: str | None = None
        self._said: Report | None = None
        self._reports: list[Report] = []
        self._unknown = 0
        self._killed_at_s: float | None = None
        self._poll_at_s = now_s + commands.poll_every_s
        with log_file.open("ab") as log:
            self._start: subprocess.Popen[bytes] | None = run(commands.start, log, log)
        if not commands.poll:
            self._say(Running(name=name))

    def stop(self) -> None:
        """Let it leave."""
        self._order = self._order or "stop"

    def kill(self) -> None:
        """End it."""
        self._order = "kill"

    def next_s(self) -> float | None:
        """When `tend` is due without an exit."""
        if self._step is not None:
            return self._step.until_s
        times = [self._poll_at_s] if self._commands.poll else []
        if self._killed_at_s is not None:
            times.append(self._killed_at_s + GIVE_UP_S)
        return min(times, default=None)

    def tend(self, now_s: float) -> list[Report]:
        """What has become known since the last call; after Ended the worker is done."""
        self._look_at_step(now_s)
        if self._step is None:
            self._look_at_start()
            self._next_step(now_s)
        if self._killed_at_s is not None and now_s >= self._killed_at_s + GIVE_UP_S:
            self._end("given up: it did not end when it was killed")
        reports, self._reports = self._reports, []
        for number, report in enumerate(reports):
            if isinstance(report, Ended):
                self._tidy()
                return reports[: number + 1]
        return reports

    def _look_at_start(self) -> None:
        """Without a running step, so that a stop or kill is not cut off by the end that it causes."""
        code = None if self._start is None else self._start.poll()
        if code is None:
            return
        self._start = None
        has_poll, is_killed = bool(self._commands.poll), self._killed_at_s is not None
        if not has_poll or (code != 0 and not is_killed):
            self._end(describe_exit(code), exit_code=code if code >= 0 else None)

    def _look_at_step(self, now_s: float) -> None:
        step = self._step
        code = None if step is None else step.exit_code(now_s)
        if step is None or code is None:
            return
        self._step = None
        output, errors = step.texts()
        if step.kind == "poll":
            self._hear(read_poll(code, output), "\n".join(filter(None, (output, errors))))
            return
        if code != 0:
            self._log(f"{step.kind}: {describe_exit(code)}: {errors or output}")
        self._poll_at_s = now_s  # its end may be known already

    def _hear(self, said: Said, words: str) -> None:
        match said.answer:
            case Answer.UNKNOWN:
                self._unknown += 1
                if self._unknown >= MOST_UNKNOWN and self._start is None:
                    self._end("the poll command finds it no more", words)
                return
            case Answer.WAITING:
                self._say(Waiting(name=self.name, reason=said.reason or said.word))
            case Answer.RUNNING:
                self._say(Running(name=self.name))
            case Answer.ENDED:
                self._end(said.word, words)
        self._unknown = 0

    def _next_step(self, now_s: float) -> None:
        order, self._order = self._order, None
        if order is not None:
            self._obey(order, now_s)
        elif self._commands.poll and now_s >= self._poll_at_s:
            self._poll_at_s = now_s + self._commands.poll_every_s
            if not self._begin("poll", now_s):
                self._hear(Said(Answer.UNKNOWN, "", ""), "")

    def _obey(self, order: str, now_s: float) -> None:
        """Without a command of the pool for it, a stop or kill is a signal for `start`."""
        is_kill = order == "kill"
        if is_kill and self._killed_at_s is None:
            self._killed_at_s = now_s
        kind = "kill" if is_kill and self._commands.kill else "stop"
        has_begun = self._begin(kind, now_s)
        if self._start is not None:
            if is_kill:
                signal_group(self._start, signal.SIGKILL)
            elif not has_begun:
                signal_group(self._start, signal.SIGTERM)
        elif is_kill and not has_begun:
            self._end("given up: no command of its pool could end it")

    def _begin(self, kind: str, now_s: float) -> bool:
        """Run a command of the pool. False, if there is none or it cannot be run."""
        command = {"poll": self._commands.poll, "stop": self._commands.stop, "kill": self._commands.kill}[
            kind
        ]
        if not command:
            return False
        try:
            self._step = Step(kind, command, now_s + STEP_S)
        except OSError as error:
            self._log(f"{kind}: {error}")
        return self._step is not None

    def _say(self, report: Waiting | Running) -> None:
        if report != self._said:
            self._said = report
            self._reports.append(report)

    def _end(self, status: str, words: str = "", exit_code: int | None = None) -> None:
        if words:
            self._log(words)
        last_words = tail_of(self._log_file)
        self._reports.append(Ended(name=self.name, status=status, last_words=last_words, exit_code=exit_code))

    def _tidy(self) -> None:
        """Leave no command of an ended worker behind."""
        if self._start is not None:
            end_group(self._start)
        if self._step is not None:
            end_group(self._step.process)
            self._step.texts()
        self._start = self._step = None

    def _log(self, text: str) -> None:
        with suppress(OSError), self._log_file.open("ab") as log:
            log.write(text.encode(errors="replace").rstrip() + b"\n")
