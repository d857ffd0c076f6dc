"""Numbers of rows by state, of stored files, and of the schema."""

from dataclasses import dataclass

from kernel.views.reader import Reader
from kernel.views.rows import DurationBound, GroupCount, OpenJobs, QueueCount, Tally, Total


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by state, and the images that can be downloaded with their bytes on disk."""

    models: dict[str, int]
    engines: dict[str, int]
    jobs: dict[str, int]
    images: Total


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Files by what they are, with their bytes on the disk."""

    images: Total
    models: Total
    """Downloads and uploads in the models folder; those that are used in place are not counted."""


def count_all(reader: Reader) -> Counts:
    """Read the counts; those of jobs and images are kept by the triggers of job_count and image_count."""
    return Counts(
        models=_by_state(reader, "count_models"),
        engines=_by_state(reader, "count_engines"),
        jobs=_by_state(reader, "count_jobs"),
        images=reader.one("count_images", Total, {}) or Total(0, 0),
    )


def stored_files(reader: Reader) -> StoredFiles:
    """Count them. Those of models that were deleted without their files are not known any more."""
    return StoredFiles(
        images=reader.one("count_images", Total, {}) or Total(0, 0),
        models=reader.one("count_stored_models", Total, {}) or Total(0, 0),
    )


def schema_number(reader: Reader) -> int:
    """The number of the last migration."""
    found = reader.one("schema_number", Total, {})
    return 0 if found is None else found.count


def count_queue(reader: Reader) -> QueueCount:
    """The open jobs of all engines."""
    return reader.one("count_queue", QueueCount, {}) or QueueCount(0, 0, None)


def open_jobs_of_engines(reader: Reader) -> list[OpenJobs]:
    """The open jobs of each engine, also of those without any."""
    return reader.all("count_engine_jobs", OpenJobs, {})


def open_jobs_of_keys(reader: Reader) -> list[OpenJobs]:
    """The open jobs of each API key that is not revoked."""
    return reader.all("count_key_jobs", OpenJobs, {})


def tallies(reader: Reader) -> list[Tally]:
    """What has happened to the jobs and images of the engines that there are."""
    return reader.all("tallies", Tally, {})


def open_deliveries(reader: Reader) -> dict[str, int]:
    """The deliveries of callbacks that have not ended, by state."""
    return _by_state(reader, "count_open_deliveries")


def ended_deliveries(reader: Reader) -> dict[str, int]:
    """How many have ever ended, by the state that they ended in."""
    return _by_state(reader, "delivery_tallies")


def duration_bounds_ms(reader: Reader) -> tuple[int, ...]:
    """The bounds by which durations are counted, ascending; the last is above every duration."""
    return tuple(bound.ms for bound in reader.all("duration_bounds", DurationBound, {}))


def _by_state(reader: Reader, query: str) -> dict[str, int]:
    return {group.state: group.count for group in reader.all(query, GroupCount, {})}
