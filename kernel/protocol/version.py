"""The version of this software, and the oldest SQLite that it runs on: written here and nowhere else."""

from typing import Final

VERSION: Final = "0.2.0"

OLDEST_SQLITE: Final = "3.51.3"
"""Older ones can corrupt a WAL database. Source: SQLite's release notes, "WAL-reset bug"."""
