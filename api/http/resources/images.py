"""/v1/images"""

from collections.abc import Callable
from typing import Final

import falcon

from api.http.contract.caller import caller_of
from api.http.contract.image_types import (
    ImageEdit,
    ImageListQuery,
    ImagePage,
    check_edit,
    filter_of,
    image_of,
    referring,
)
from api.http.contract.request_parsing import BodyReader, QueryReader, refuse_key
from api.http.contract.responses import send, send_nothing
from api.http.contract.search_query import check_search
from api.http.resources.ownership import find_seen_image, seen
from api.port import BusPort
from kernel.protocol.client import DeleteImage, Done, EditImage
from kernel.protocol.ids import ImageId
from kernel.views.images import list_images
from kernel.views.names import names_of
from kernel.views.page import Page
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow

NO_IMAGES: Final[Page[ImageRow]] = Page((), None)


class Images:
    """List, show, edit and delete images. `api.http.resources.download` sends their files."""

    def __init__(self, bus: BusPort, reader: Reader, now_ms: Callable[[], int]) -> None:
        self._bus = bus
        self._reader = reader
        self._now_ms = now_ms
        self._edit_body = BodyReader(ImageEdit, frozenset(), check_edit)
        self._list_query = QueryReader(ImageListQuery, check_search)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = self._list_query.read(req)
        now_ms = self._now_ms()
        wanted = seen(self._reader, caller_of(req), filter_of(query, now_ms), query.key)
        page = NO_IMAGES
        if wanted is not None:
            page = list_images(self._reader, wanted, now_ms, query.limit, query.after, query.order)
        names = names_of(self._reader, map(referring, page.items))
        items = tuple(image_of(row, names, now_ms) for row in page.items)
        send(resp, 200, ImagePage(items=items, next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        self._send(req, resp, image_id)

    def edit(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        """Repeating it changes nothing, so it takes no key."""
        refuse_key(req)
        said = self._edit_body.read(req)
        ask = EditImage(
            image_id=self._own(req, image_id), tags=said.tags, favorite=said.favorite, note=said.note
        )
        self._bus.ask(ask, Done)
        self._send(req, resp, image_id)

    def delete(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        self._bus.ask(DeleteImage(image_id=self._own(req, image_id)), Done)
        send_nothing(resp)

    def _send(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        row = find_seen_image(self._reader, caller_of(req), image_id)
        send(resp, 200, image_of(row, names_of(self._reader, [referring(row)]), self._now_ms()))

    def _own(self, req: falcon.Request, image_id: str) -> ImageId:
        """The id of an image that the caller may change. Raises: ImageNotFound; the Manager, if there is
        none."""
        if (caller := caller_of(req)).sees_only is not None:
            find_seen_image(self._reader, caller, image_id)
        return ImageId(image_id)
