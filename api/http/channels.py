"""What waitress does with a connection: what it refuses itself becomes a problem document."""

import secrets

import msgspec
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from api.http.errors import Malformed, TooLarge
from api.http.guard import Guard
from api.http.parsing import Parser, Refusal
from api.http.problems import CONTENT_TYPE, problem_of
from api.http.uploads import UploadLimits
from kernel.protocol.errors import SpoonError


def channel_class(guard: Guard, uploads: UploadLimits | None) -> type[HTTPChannel]:
    """The class of connections. Without `uploads` every body is held as waitress holds it."""
    parser = type("Parser", (Parser,), {"guard": guard, "uploads": uploads})
    return type("Channel", (_Channel,), {"parser_class": parser})


class _ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """What is refused before the application sees it: as a problem document."""

    def execute(self) -> None:
        error = self.request.error
        cause = error.cause if isinstance(error, Refusal) else _translate(error.code, str(error.body))
        problem = problem_of(cause, secrets.token_hex(8))
        body = msgspec.json.encode(msgspec.structs.replace(problem, status=error.code))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", CONTENT_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    error_task_class = _ProblemTask

    def handle_close(self) -> None:
        if self.request is not None:
            self.request.close()  # a client that left in the middle of an upload leaves nothing behind
        super().handle_close()


def _translate(status: int, text: str) -> SpoonError:
    if status in (413, 431):
        return TooLarge(text)
    return Malformed(text) if status < 500 else SpoonError("the server made a mistake; its log tells more")
