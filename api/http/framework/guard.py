"""Keeps web pages away: a browser on this machine can be made to call a local server by any page it shows.

A page that rebinds its own DNS name to 127.0.0.1 comes with a foreign Host; a page that posts a form or a
script's request comes with a foreign Origin; of one that shows a picture of ours, or opens a stream, the
browser tells in Sec-Fetch-Site. All are refused before anything is read. A link that leads here is no harm.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

import falcon

from api.http.contract.errors import ForbiddenHost, ForbiddenOrigin
from api.http.contract.host_header import host_in

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_REMEMBERED: Final = 256
_ENVIRON: Final = {
    "HOST": "HTTP_HOST",
    "ORIGIN": "HTTP_ORIGIN",
    "SEC_FETCH_SITE": "HTTP_SEC_FETCH_SITE",
    "SEC_FETCH_MODE": "HTTP_SEC_FETCH_MODE",
    "SEC_FETCH_DEST": "HTTP_SEC_FETCH_DEST",
}
"""What is looked at, and where WSGI has it."""


class Guard:
    """Falcon middleware: checks each request's Host, and where a browser says that it comes from."""

    def __init__(self, bound_host: str, allowed_hosts: tuple[str, ...]) -> None:
        self._names = frozenset(name.lower() for name in ("localhost", bound_host, *allowed_hosts))
        self._good: set[str] = set()
        """Host headers that were found right before, so that each is looked at once."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refuse what comes from a foreign page.

        Raises: ForbiddenHost; ForbiddenOrigin.
        """
        env = req.env
        self.check_head(req.method, {name: env[key] for name, key in _ENVIRON.items() if key in env})

    def check_head(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse by the head of a request alone.

        Headers are named as in `api.http.framework.request_head.Head`.

        Raises: ForbiddenHost; ForbiddenOrigin.
        """
        host = headers.get("HOST", "")
        if host not in self._good:
            self._check_host(host)
        origin = headers.get("ORIGIN")
        if method not in SAFE_METHODS and origin is not None:
            _check_origin(origin, host)
        if "SEC_FETCH_SITE" in headers and not _may_fetch(method, headers):
            raise ForbiddenOrigin

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Keep browsers from guessing another type than the one that is said."""
        resp.set_header("X-Content-Type-Options", "nosniff")

    def _check_host(self, host: str) -> None:
        """HTTP/1.0 knows no Host; no browser speaks it, so a missing one is let through."""
        if host:
            name = host_in(host)
            if name is None or (name not in self._names and not _is_address(name)):
                raise ForbiddenHost
        if len(self._good) < MAX_REMEMBERED:
            self._good.add(host)


def _check_origin(origin: str, host: str) -> None:
    if not host or origin.lower().partition("://")[2] != host.lower():
        raise ForbiddenOrigin


def _may_fetch(method: str, headers: Mapping[str, str]) -> bool:
    """A page of another site may lead a person here, by a link, and do nothing else.

    Source: Fetch Metadata Request Headers (W3C). Another port of the same name is of the same site.
    """
    if "cross-site" not in headers["SEC_FETCH_SITE"].lower():
        return True
    is_navigation = (
        headers.get("SEC_FETCH_MODE") == "navigate" and headers.get("SEC_FETCH_DEST") == "document"
    )
    return is_navigation and method in ("GET", "HEAD")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
