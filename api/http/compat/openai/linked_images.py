"""/v1/images/{image_id}/content: downloads by signed links."""

from collections.abc import Callable
from typing import Annotated

import falcon
import msgspec
from msgspec import Meta

from api.http.compat.openai.signed_links import SignedLinks
from api.http.contract.caller import ANYBODY, CALLER
from api.http.contract.errors import BadSignature
from api.http.contract.request_parsing import QueryReader
from api.http.resources.download import Download

Expires = Annotated[int, Meta(ge=0, le=1 << 40, description="Seconds since 1970 UTC.")]
Signature = Annotated[str, Meta(min_length=1, max_length=100)]


class LinkQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the server has put into a link."""

    expires: Expires
    signature: Signature


class LinkedImages:
    """Sends images to whoever has a link that this server has made."""

    def __init__(self, download: Download, links: SignedLinks, now_ms: Callable[[], int]) -> None:
        self._download = download
        self._links = links
        self._now_ms = now_ms
        self._query = QueryReader(LinkQuery)

    def show(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        """As a download. Raises: BadSignature, LinkExpired; as Download.show."""
        query = self._query.read(req)
        if req.get_param("expires") != str(query.expires):  # also 7.0 and 07 are read as 7
            raise BadSignature
        self._links.check(image_id, query.expires, query.signature, self._now_ms())
        req.env[CALLER] = ANYBODY  # the link is the permission
        self._download.show(req, resp, image_id)
