"""Limits the rate of progress reports: one per subject and interval, always the newest, and always the
last."""

from dataclasses import dataclass

from engine_worker.session.actions import Send


@dataclass(slots=True)
class _Subject:
    """The job or model that reports are about."""

    sent_at: float
    waiting: Send | None = None


class Throttle:
    """Passes progress reports on at a bounded rate, separately for each job or model."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._subjects: dict[str, _Subject] = {}

    def offer(self, key: str, report: Send, *, is_last: bool, now: float) -> list[Send]:
        """The report at once if it is the last or its interval is over; otherwise it waits for `due`."""
        subject = self._subjects.get(key)
        if is_last or subject is None or now >= subject.sent_at + self._every_s:
            self._subjects[key] = _Subject(now)
            return [report]
        subject.waiting = report
        return []

    def due(self, now: float) -> list[Send]:
        """The waiting reports whose interval is over."""
        ready: list[Send] = []
        for subject in self._subjects.values():
            if subject.waiting is not None and now >= subject.sent_at + self._every_s:
                ready.append(subject.waiting)
                subject.sent_at, subject.waiting = now, None
        return ready

    def forget(self, key: str) -> None:
        """Drop the waiting report of a subject that makes no more progress."""
        self._subjects.pop(key, None)

    def next_deadline(self) -> float | None:
        """When a waiting report may leave."""
        times = [subject.sent_at for subject in self._subjects.values() if subject.waiting is not None]
        return min(times) + self._every_s if times else None
