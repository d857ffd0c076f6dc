"""/v1/images"""

from collections.abc import Callable

import falcon

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
from api.port import BusPort
from kernel.protocol.client import DeleteImage, Done, EditImage
from kernel.protocol.errors import ImageNotFound
from kernel.protocol.ids import ImageId
from kernel.views.images import find_image, list_images
from kernel.views.names import names_of
from kernel.views.reader import Reader
from kernel.views.rows import ImageRow


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
        wanted = filter_of(query, now_ms)
        page = list_images(self._reader, wanted, now_ms, query.limit, query.after, query.order)
        names = names_of(self._reader, map(referring, page.items))
        items = tuple(image_of(row, names, now_ms) for row in page.items)
        send(resp, 200, ImagePage(items=items, next=page.next_after))

    def show(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        self._send(resp, image_id)

    def edit(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        """Repeating it changes nothing, so it takes no key."""
        refuse_key(req)
        said = self._edit_body.read(req)
        ask = EditImage(image_id=ImageId(image_id), tags=said.tags, favorite=said.favorite, note=said.note)
        self._bus.ask(ask, Done)
        self._send(resp, image_id)

    def delete(self, req: falcon.Request, resp: falcon.Response, image_id: str) -> None:
        self._bus.ask(DeleteImage(image_id=ImageId(image_id)), Done)
        send_nothing(resp)

    def _send(self, resp: falcon.Response, image_id: str) -> None:
        row = find(self._reader, image_id)
        send(resp, 200, image_of(row, names_of(self._reader, [referring(row)]), self._now_ms()))


def find(reader: Reader, image_id: str) -> ImageRow:
    """The image of a path.

    Raises: ImageNotFound, if it never existed.
    """
    row = find_image(reader, ImageId(image_id))
    if row is None:
        raise ImageNotFound(f"no image has the id {image_id!r}")
    return row
