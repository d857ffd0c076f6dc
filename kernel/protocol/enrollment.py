"""Why a worker may not join a pool, and which versions of workers work with a Manager."""

import re
from typing import Final

from kernel.protocol.errors import SpoonError

_NUMBERS: Final = re.compile(r"(\d{1,6})\.(\d{1,6})")


class TokenUnknown(SpoonError):
    """The enrollment token is unknown: get one with `spoon workers token create`."""

    code = "token_unknown"


class TokenExpired(SpoonError):
    """The enrollment token has expired: get another one with `spoon workers token create`."""

    code = "token_expired"


class TokenRevoked(SpoonError):
    """The enrollment token was revoked: get another one with `spoon workers token create`."""

    code = "token_revoked"


class TokenFull(SpoonError):
    """As many workers have joined with the enrollment token as it admits."""

    code = "token_full"


class WorkerRevoked(SpoonError):
    """A person has cut off this worker: ask them before you start it again."""

    code = "worker_revoked"


class VersionSkew(SpoonError):
    """The worker's version is too far from the server's."""

    code = "version_skew"


class NotEnrolled(SpoonError):
    """The server does not know the worker: enroll."""

    code = "not_enrolled"


def check_skew(theirs: str, ours: str) -> None:
    """Check that a worker of one version works with a Manager of another: the same major version, and minor
    ones at most one apart.

    Raises: VersionSkew.
    """
    found = [_NUMBERS.match(one) for one in (theirs, ours)]
    numbers = [None if one is None else (int(one[1]), int(one[2])) for one in found]
    worker, manager = numbers
    if worker is None or manager is None or worker[0] != manager[0] or abs(worker[1] - manager[1]) > 1:
        raise VersionSkew(
            f"the worker is of version {theirs[:20]}, the server of {ours}: install one whose minor version "
            "is at most one apart on the worker's host"
        )
