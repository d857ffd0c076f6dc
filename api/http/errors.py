"""Errors that only HTTP knows, in the one tree; their status codes are in `api.http.problems`."""

from kernel.protocol.errors import NotFound, SpoonError, Unavailable


class Malformed(SpoonError):
    """The request cannot be read: it is not what HTTP or JSON allow."""

    code = "malformed"


class VersionNotSupported(SpoonError):
    """This server speaks HTTP/1.1 and HTTP/1.0."""

    code = "version_not_supported"


class CodingNotSupported(SpoonError):
    """The only Transfer-Encoding that this server reads is chunked."""

    code = "coding_not_supported"


class RequestTimeout(SpoonError):
    """The request did not come in time: send its head at once, and its body without long breaks."""

    code = "request_timeout"


class ForbiddenHost(SpoonError):
    """This server does not answer under that host name: list it in server.allowed_hosts."""

    code = "forbidden_host"


class ForbiddenOrigin(SpoonError):
    """A web page of another origin may not change anything here, and read nothing but what it leads to."""

    code = "forbidden_origin"


class NoSuchPath(NotFound):
    """There is nothing under that path: see /docs."""

    code = "no_such_path"


class NoSuchInput(NotFound):
    """The image was made without such an input."""

    code = "no_such_input"


class InputGone(SpoonError):
    """The image was made with such an input, but its file has been deleted."""

    code = "input_gone"


class MethodNotAllowed(SpoonError):
    """That path does not know that method: see the Allow header."""

    code = "method_not_allowed"


class TooLarge(SpoonError):
    """The request is larger than the server takes."""

    code = "too_large"


class UnsupportedMediaType(SpoonError):
    """The body must be JSON in UTF-8 (Content-Type: application/json); a job may be a form, too."""

    code = "unsupported_media_type"


class RangeNotSatisfiable(SpoonError):
    """The file is shorter than the range that was asked for."""

    code = "range_not_satisfiable"


class TooManyStreams(Unavailable):
    """All event streams are taken: poll instead, or try again later."""

    code = "too_many_streams"


class TooManyConnections(Unavailable):
    """All connections that the server can have are busy: try again in a moment."""

    code = "too_many_connections"
