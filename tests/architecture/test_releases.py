"""Every release is recorded, so that later versions are tested with its data, and its migrations stay."""

import hashlib

from kernel.shell.store import migrations
from tests.acceptance.releases.recording import MIGRATIONS, archive_of, read_recording, recorded_versions
from tests.architecture.source_files import ROOT
from tests.architecture.test_version import releases, tags_of_head

MAX_BYTES = 500_000
"""Of an archive, which is in every clone from then on."""


def test_every_release_is_recorded() -> None:
    """If one is missing: `python -m tests.acceptance.releases.record` (docs/development.md)."""
    released = {version for version, _ in releases((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))}
    released |= {tag.removeprefix("v") for tag in tags_of_head()}
    assert set(recorded_versions()) == released


def test_a_recording_is_of_its_version_and_small() -> None:
    for version in recorded_versions():
        recording = read_recording(version)
        assert recording.version == version
        assert list(recording.migrations) == sorted(recording.migrations)
        assert recording.schema == len(recording.migrations) <= len(migrations())
        assert archive_of(version).stat().st_size <= MAX_BYTES


def test_no_migration_has_changed_since_it_was_released() -> None:
    for version in recorded_versions():
        now = {name: file_digest(name) for name in read_recording(version).migrations}
        assert now == read_recording(version).migrations


def file_digest(name: str) -> str:
    """The sha256 of a migration; empty, if it is gone."""
    file = ROOT / MIGRATIONS / name
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""
