"""Refuses requests of foreign web pages: any page can make a browser on this machine call a local server.

A page that rebinds its own DNS name to 127.0.0.1 comes with a foreign Host; a page that posts a form or a
script's request comes with a foreign Origin; for a page that shows one of our images, or opens a stream, the
browser sets Sec-Fetch-Site. All are refused before the body is read. A link that leads here does no harm.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

import falcon

from api.http.contract.errors import ForbiddenHost, ForbiddenOrigin
from api.http.contract.host_header import host_in

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
NO_SNIFFING: Final = ("X-Content-Type-Options", "nosniff")
"""The header of every response that keeps browsers from guessing a type other than the declared one."""
MAX_REMEMBERED: Final = 256
_ENVIRON: Final = {
    "HOST": "HTTP_HOST",
    "ORIGIN": "HTTP_ORIGIN",
    "SEC_FETCH_SITE": "HTTP_SEC_FETCH_SITE",
    "SEC_FETCH_MODE": "HTTP_SEC_FETCH_MODE",
    "SEC_FETCH_DEST": "HTTP_SEC_FETCH_DEST",
}
"""The headers that are checked, by their WSGI names."""


class Guard:
    """Falcon middleware: checks each request's Host and origin."""

    def __init__(self, bound_host: str, allowed_hosts: tuple[str, ...]) -> None:
        self._names = frozenset(name.lower() for name in ("localhost", bound_host, *allowed_hosts))
        self._good: set[str] = set()
        """Host headers that were checked before, so that each is checked once."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refuse a request of a foreign page.

        Raises: ForbiddenHost; ForbiddenOrigin.
        """
        env = req.env
        self.check_head(req.method, {name: env[key] for name, key in _ENVIRON.items() if key in env})

    def check_head(self, method: str, headers: Mapping[str, str]) -> None:
        """Check the head of a request alone.

        Headers are named as in `api.http.framework.request_head.Head`.

        Raises: ForbiddenHost; ForbiddenOrigin.
        """
        host = headers.get("HOST", "")
        self.check_host(host)
        origin = headers.get("ORIGIN")
        if method not in SAFE_METHODS and origin is not None:
            _check_origin(origin, host)
        if "SEC_FETCH_SITE" in headers and not _may_fetch(method, headers):
            raise ForbiddenOrigin

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Keep browsers from guessing a type other than the declared one."""
        resp.set_header(*NO_SNIFFING)

    def check_host(self, host: str) -> None:
        """Check a Host header. HTTP/1.0 has none, and no browser uses HTTP/1.0, so a missing one is allowed.

        Raises: ForbiddenHost.
        """
        if host in self._good:
            return
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
    """A page of another site may link here, and do nothing else.

    Source: Fetch Metadata Request Headers (W3C). Another port of the same name is the same site.
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
