"""Errors that only HTTP has; their status codes are in `api.http.contract.problems`."""

from typing import Final

from kernel.protocol.errors import Conflict, NotFound, SpoonError, Unavailable

PROBLEM_TYPE: Final = "urn:automatic-spoon:problem:"
"""The beginning of the `type` of every problem document."""


class Malformed(SpoonError):
    """The request is not valid HTTP or JSON."""

    code = "malformed"


class VersionNotSupported(SpoonError):
    """HTTP version not supported: use HTTP/1.1 or HTTP/1.0."""

    code = "version_not_supported"


class CodingNotSupported(SpoonError):
    """Transfer-Encoding not supported: use chunked."""

    code = "coding_not_supported"


class RequestTimeout(SpoonError):
    """Request timeout: send the head at once, and the body without long pauses."""

    code = "request_timeout"


class ForbiddenHost(SpoonError):
    """Host name not allowed: add it to server.allowed_hosts."""

    code = "forbidden_host"


class ForbiddenOrigin(SpoonError):
    """Cross-origin request refused."""

    code = "forbidden_origin"


class NoSuchPath(NotFound):
    """No such path: see /docs."""

    code = "no_such_path"


class NoThumbnail(NotFound):
    """There is no file that can be shown as a thumbnail."""

    code = "no_thumbnail"


class WildcardNotFound(NotFound):
    """No such list of wildcards."""

    code = "wildcard_not_found"


class NoSuchInput(NotFound):
    """The image has no such input."""

    code = "no_such_input"


class InputGone(SpoonError):
    """The file of the image's input has been deleted."""

    code = "input_gone"


class BadSignature(SpoonError):
    """The link was changed, or is not one of this server."""

    code = "bad_signature"


class LinkExpired(SpoonError):
    """The link has expired: fetch the image by its id, or make a new one."""

    code = "link_expired"


class JobCancelled(Conflict):
    """The job was cancelled."""

    code = "job_cancelled"


class JobRunning(Unavailable):
    """The job is still running: send the same request again to wait for it, or look at it by its id."""

    code = "job_running"


class NoInfotext(SpoonError):
    """The image does not say how it was made: the program that saved it last may have left that out."""

    code = "no_infotext"


class MethodNotAllowed(SpoonError):
    """Method not allowed: see the Allow header."""

    code = "method_not_allowed"


class TooLarge(SpoonError):
    """The request is too large."""

    code = "too_large"


class UnsupportedMediaType(SpoonError):
    """Unsupported media type: send JSON in UTF-8 (Content-Type: application/json); jobs also accept forms."""

    code = "unsupported_media_type"


class SamplerNotFound(NotFound):
    """Sampler not found."""

    code = "sampler_not_found"


class InitImageNotFound(NotFound):
    """Init image not found."""

    code = "init_image_not_found"


class RangeNotSatisfiable(SpoonError):
    """The requested range is beyond the end of the file."""

    code = "range_not_satisfiable"


class TooManyStreams(Unavailable):
    """All event streams are in use: poll instead, or try again later."""

    code = "too_many_streams"


class TooManyWaits(Unavailable):
    """Too many requests wait for something: ask without `?wait=`, or try again later."""

    code = "too_many_waits"


class TooManyConnections(Unavailable):
    """All connections are in use: try again in a moment."""

    code = "too_many_connections"
