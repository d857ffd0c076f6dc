"""Decides from a request's head where its body goes, and how long it may be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from api.http.contract.a1111_errors import WITH_IMAGES as A1111_PATHS
from api.http.contract.errors import TooLarge
from api.http.contract.openai_errors import PATHS as OPENAI_PATHS
from api.http.contract.request_parsing import MAX_JSON_BYTES
from api.http.framework.access import Access
from api.http.framework.bodies import Body, Budget, Writer
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.guard import Guard
from api.http.framework.request_head import Head
from api.http.framework.upload_stream import MAX_UPLOADS, UploadStream
from api.http.framework.uploads import UPLOAD_PATH, Receiver, UploadLimits
from kernel.protocol.enums import Role

JOBS_PATH: Final = "/v1/jobs"
INFOTEXT_PATH: Final = "/v1/infotext"
SESSION_PATH: Final = "/v1/session"
MAX_SIGN_IN_BYTES: Final = 1 << 10
"""Of a body that strangers may send."""
_WITH_IMAGES: Final = frozenset(
    ("POST", path) for path in (JOBS_PATH, INFOTEXT_PATH, *OPENAI_PATHS, *A1111_PATHS)
)


@dataclass(frozen=True, slots=True)
class BodyTerms:
    """Which bodies are accepted from whom."""

    uploads: UploadLimits | None = None
    """None: no body may be longer than any other."""
    access: Access | None = None
    """None: everybody may send bodies."""


class BodyIntake:
    """Accepts bodies."""

    def __init__(self, guard: Guard, max_body_bytes: int, budget: Budget, terms: BodyTerms) -> None:
        self._guard = guard
        self._max_body = max_body_bytes
        self._budget = budget
        self._writer = Writer()
        self._uploads, self._access = terms.uploads, terms.access
        self._slots = ConcurrencyLimit(MAX_UPLOADS)

    def buffer_for(self, head: Head, wake: Callable[[], None]) -> tuple[Body | UploadStream, int]:
        """The buffer for a request's body, and the most bytes that it may have.

        `wake` is called when its connection should be checked again.
        Guard and access are checked before the body arrives, so that no foreign page and no stranger can fill
        the disk.
        Raises: ForbiddenHost, ForbiddenOrigin, TooLarge, TooManyRequests, DiskFull; Malformed, if an upload
        is not a form; as `Access.caller`; KeyNotAllowed.
        """
        self._guard.check_head(head.method, head.headers)
        where = (head.method, head.path.rstrip("/"))
        if where == ("POST", SESSION_PATH):
            return self._body(head, MAX_SIGN_IN_BYTES, wake)
        if self._access is not None:
            least = Role.ADMIN if where == ("POST", UPLOAD_PATH) else Role.VIEWER
            self._access.caller(head.headers).check(least)
        if self._uploads is not None and where == ("POST", UPLOAD_PATH):
            receiver = Receiver(self._uploads, head.headers.get("CONTENT_TYPE"), head.length)
            return UploadStream(receiver, self._slots, wake), self._uploads.max_body_bytes
        most = self._max_body if where in _WITH_IMAGES else min(self._max_body, MAX_JSON_BYTES)
        return self._body(head, most, wake)

    def _body(self, head: Head, most: int, wake: Callable[[], None]) -> tuple[Body, int]:
        if (head.length or 0) > most:
            raise TooLarge(f"the body must have at most {most} bytes")
        self._budget.check(head.length or 0)
        return Body(self._budget, self._writer, wake), most

    def close(self) -> None:
        """Accept no more bodies."""
        self._writer.stop()
