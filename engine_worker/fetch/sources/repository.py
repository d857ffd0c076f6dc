"""What a repository of a hub holds at one commit."""

import msgspec


class HubFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a repository, as the hub describes it."""

    name: str
    size_bytes: int | None = None
    sha256: str | None = None


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """What a repository holds at one commit."""

    commit: str
    files: tuple[HubFile, ...]
