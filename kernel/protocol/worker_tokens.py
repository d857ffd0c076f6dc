"""Enrollment tokens of pools: their text and digest, and the commands about them and about workers.

A token is `spoonworker_ID_SERVER_SECRET`: its public id without the dashes, the public key of the workers'
socket, and 256 random bits, all in hexadecimal digits. So its text is all that a host needs to find out that
it talks to the right server, and a plain SHA-256 recognizes it (adr/0058). The prefix is for programs that
look for secrets in files.
"""

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from kernel.protocol.errors import BadConfiguration
from kernel.protocol.ids import TokenId, WorkerId
from kernel.protocol.values import LifeS, Pool

PREFIX: Final = "spoonworker"
_TEXT: Final = re.compile(rf"{PREFIX}_([0-9a-f]{{32}})_([0-9a-f]{{64}})_[0-9a-f]{{64}}")

MostWorkers = Annotated[int, Meta(ge=1, le=100_000)]
"""The number of workers that one token admits at a time."""


class CreateWorkerToken(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Create an enrollment token of a pool. Its secret is in the first reply alone."""

    pool: Pool
    expires_in_s: LifeS | None = None
    """None: it does not expire."""
    max_workers: MostWorkers | None = None
    """None: any number."""


class RevokeWorkerToken(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make an enrollment token invalid, for good, and cut off the workers that joined with it."""

    token_id: TokenId


class CordonWorker(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give a worker of a pool nothing more, or give it work again. It keeps what it has."""

    worker_id: WorkerId
    is_cordoned: bool


class DrainWorker(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Let a worker of a pool finish its jobs and leave for good."""

    worker_id: WorkerId


class RevokeWorker(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Cut off a worker of a pool now; its jobs are requeued."""

    worker_id: WorkerId


WorkerAsk = CreateWorkerToken | RevokeWorkerToken | CordonWorker | DrainWorker | RevokeWorker


class WorkerTokenIssued(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An enrollment token was created."""

    token_id: TokenId
    expires_at_ms: int | None = None
    text: str | None = None
    """The token. It is secret, and the Manager does not store it: None, if the command was sent again."""


def token_text(token_id: TokenId, server_key: str, secret: str) -> str:
    """The token as a worker's host keeps it. Secret. `server_key`: 64 hexadecimal digits."""
    return f"{PREFIX}_{token_id.replace('-', '')}_{server_key}_{secret}"


def server_key_of(text: str) -> bytes:
    """The public key of the socket that a token is for. Shape: 32 bytes.

    Raises: BadConfiguration, if it is no token; the message quotes none of it.
    """
    if (found := _TEXT.fullmatch(text.strip())) is None:
        raise BadConfiguration("not an enrollment token: get one with `spoon workers token create`")
    return bytes.fromhex(found[2])
