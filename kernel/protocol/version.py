"""The version of this software, and the oldest supported SQLite: declared once, here."""

from typing import Final

VERSION: Final = "0.2.0"

OLDEST_SQLITE: Final = "3.51.3"
"""Older ones can corrupt a WAL database. Source: SQLite's release notes, "WAL-reset bug"."""
