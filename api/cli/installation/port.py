"""The port of the server: whether it can listen there, or else who does."""

import socket
from typing import Final

import msgspec

from api.cli.context import configured_url, written_url
from api.cli.output import printable
from api.http.contract.errors import PROBLEM_TYPE
from api.installation.diagnosis import CheckResult, Verdict
from conf.settings import Settings
from kernel.protocol.type_info import analyzed

_ANSWER_S: Final = 2.0


def port(settings: Settings, is_running: bool) -> CheckResult:
    """Whether the API can listen on its configured address, or else who does."""
    host, number, url = settings.server.host, settings.server.port, configured_url(settings)
    subject = f"port {number}"
    reason = bind_error(host, number)
    if reason is None:
        return CheckResult(subject=subject, verdict=Verdict.OK, found=f"free on {host}")
    holder = _holder(url)
    if is_running and written_url(settings) == url:
        return CheckResult(subject=subject, verdict=Verdict.OK, found=f"in use by this server: {holder}")
    return CheckResult(
        subject=subject,
        verdict=Verdict.MISSING,
        found=f"cannot listen on {host} port {number}: {reason}; in use by {holder}",
        remedy="stop the program that uses it, or change server.host or server.port",
    )


def bind_error(host: str, number: int) -> str | None:
    """Why nobody can listen there now; None, if the API can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server does, so that closed connections in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            return error.strerror or str(error)
    return None


class _Versions(msgspec.Struct, frozen=True, kw_only=True):
    automatic_spoon: str


class _Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """The part of GET /v1/capabilities that tells a server of ours from others."""

    versions: _Versions


def _holder(url: str) -> str:
    """Who answers there."""
    import httpx

    try:
        answer = httpx.get(f"{url}/v1/capabilities", timeout=_ANSWER_S, trust_env=False)
    except httpx.HTTPError:
        return "a program that does not speak HTTP"
    try:
        version = msgspec.json.decode(answer.content, type=analyzed(_Capabilities)).versions.automatic_spoon
    except (msgspec.DecodeError, UnicodeDecodeError):
        if PROBLEM_TYPE.encode() in answer.content:  # it asks for a key
            return f"automatic-spoon at {url}"
        name = printable(answer.headers.get("server", ""))
        return f"another web server{f' ({name})' if name else ''}"
    return f"automatic-spoon {version} at {url}"
