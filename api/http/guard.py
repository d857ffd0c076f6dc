"""Keeps web pages away: a browser on this machine can be made to call a local server by any page it shows.

A page that rebinds its own DNS name to 127.0.0.1 comes with a foreign Host; a page that posts a form or a
script's request comes with a foreign Origin. Both are refused before anything is read.
"""

from ipaddress import ip_address
from typing import Final

import falcon

from api.http.errors import ForbiddenHost, ForbiddenOrigin

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_REMEMBERED: Final = 256


class Guard:
    """Falcon middleware: checks each request's Host, and the Origin of those that change something."""

    def __init__(self, bound_host: str, allowed_hosts: tuple[str, ...]) -> None:
        self._names = frozenset(name.lower() for name in ("localhost", bound_host, *allowed_hosts))
        self._good: set[str] = set()
        """Host headers that were found right before, so that each is looked at once."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refuse what comes from a foreign page.

        Raises: ForbiddenHost; ForbiddenOrigin.
        """
        self.check(req.method, req.env.get("HTTP_HOST", ""), req.env.get("HTTP_ORIGIN"))

    def check(self, method: str, host: str, origin: str | None) -> None:
        """Refuse by the head of a request alone.

        Raises: ForbiddenHost; ForbiddenOrigin.
        """
        if host not in self._good:
            self._check_host(host)
        if method not in SAFE_METHODS and origin is not None:
            _check_origin(origin, host)

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Keep browsers from guessing another type than the one that is said."""
        resp.set_header("X-Content-Type-Options", "nosniff")

    def _check_host(self, host: str) -> None:
        """HTTP/1.0 knows no Host; no browser speaks it, so a missing one is let through."""
        name = _name_of(host)
        if name and name not in self._names and not _is_address(name):
            raise ForbiddenHost
        if len(self._good) < MAX_REMEMBERED:
            self._good.add(host)


def _check_origin(origin: str, host: str) -> None:
    if not host or origin.lower().partition("://")[2] != host.lower():
        raise ForbiddenOrigin


def _name_of(host: str) -> str:
    """The host without its port, in lower case, an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
