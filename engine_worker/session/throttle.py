"""Progress, thinned out: at most one report per thing and interval, and always the newest and the last."""

from dataclasses import dataclass

from engine_worker.session.actions import Send


@dataclass(slots=True)
class _Subject:
    """The job or model that reports are about."""

    sent_at: float
    waiting: Send | None = None


class Throttle:
    """Lets reports of progress through at a bounded rate, each job or model for itself."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._subjects: dict[str, _Subject] = {}

    def offer(self, key: str, report: Send, *, is_last: bool, now: float) -> list[Send]:
        """The report at once if it is the last or its time has come; otherwise it waits for `due`."""
        subject = self._subjects.get(key)
        if is_last or subject is None or now >= subject.sent_at + self._every_s:
            self._subjects[key] = _Subject(now)
            return [report]
        subject.waiting = report
        return []

    def due(self, now: float) -> list[Send]:
        """The waiting reports whose time has come."""
        ready: list[Send] = []
        for subject in self._subjects.values():
            if subject.waiting is not None and now >= subject.sent_at + self._every_s:
                ready.append(subject.waiting)
                subject.sent_at, subject.waiting = now, None
        return ready

    def forget(self, key: str) -> None:
        """There will be no more progress of this one, and what waits is out of date."""
        self._subjects.pop(key, None)

    def next_deadline(self) -> float | None:
        """When a waiting report may leave."""
        times = [subject.sent_at for subject in self._subjects.values() if subject.waiting is not None]
        return min(times) + self._every_s if times else None
