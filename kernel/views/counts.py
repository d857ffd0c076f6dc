"""Numbers of rows by state."""

from dataclasses import dataclass

from kernel.views.reader import Reader
from kernel.views.rows import GroupCount, QueueCount, Total


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by state, and the images that can be downloaded with their bytes on disk."""

    models: dict[str, int]
    engines: dict[str, int]
    jobs: dict[str, int]
    images: Total


def count_all(reader: Reader) -> Counts:
    """Read the counts; those of jobs and images are kept by the triggers of job_count and image_count."""
    return Counts(
        models=_by_state(reader, "count_models"),
        engines=_by_state(reader, "count_engines"),
        jobs=_by_state(reader, "count_jobs"),
        images=reader.one("count_images", Total, {}) or Total(0, 0),
    )


def count_queue(reader: Reader) -> QueueCount:
    """The open jobs of all engines."""
    return reader.one("count_queue", QueueCount, {}) or QueueCount(0, 0, None)


def _by_state(reader: Reader, query: str) -> dict[str, int]:
    return {group.state: group.count for group in reader.all(query, GroupCount, {})}
