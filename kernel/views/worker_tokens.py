"""Enrollment tokens, newest first. A row has the digest of its token, which no answer shows."""

from kernel.protocol.rows import WorkerTokenRow
from kernel.views.page import Page, id_cursor, page_of
from kernel.views.reader import Reader


def find_worker_token(reader: Reader, token_id: str) -> WorkerTokenRow | None:
    """The enrollment token with this id."""
    return reader.one("worker_token", WorkerTokenRow, {"token_id": token_id})


def list_worker_tokens(reader: Reader, limit: int, after: str | None = None) -> Page[WorkerTokenRow]:
    """A page of enrollment tokens, also expired and revoked ones.

    Raises: InvalidField, if `after` is not a cursor.
    """
    found = reader.all("worker_tokens", WorkerTokenRow, {"after": id_cursor(after), "limit": limit + 1})
    return page_of(found, limit, lambda row: row.token_id)
