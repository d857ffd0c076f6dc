"""/v1/images/delete: deletes the images that are named."""

from typing import Annotated

import falcon
import msgspec
from msgspec import Meta

from api.http.contract.caller import caller_of
from api.http.contract.constraints import Id
from api.http.contract.request_parsing import BodyReader, find_nothing, refuse_key
from api.http.contract.responses import send
from api.port import BusPort
from kernel.protocol.client import DeleteImages, ImagesPruned
from kernel.protocol.enums import GoneReason
from kernel.protocol.ids import ImageId
from kernel.protocol.values import MAX_DELETED
from kernel.views.images import find_images
from kernel.views.reader import Reader


class ImagesDeleteInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ids of the images to delete."""

    image_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=MAX_DELETED)]


class ImagesDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of each image: it is deleted now, or was gone before, or there is none."""

    deleted: tuple[ImageId, ...]
    already_gone: tuple[ImageId, ...]
    not_found: tuple[ImageId, ...]
    size_bytes: int
    """Of the files that are deleted now."""


class ImageDeletion:
    """Deletes images by their ids, all with one command."""

    def __init__(self, bus: BusPort, reader: Reader) -> None:
        self._bus = bus
        self._reader = reader
        self._body = BodyReader(ImagesDeleteInput, frozenset(), find_nothing)

    def delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Repeating it changes nothing, so it takes no key. One that is lost is deleted as well: then its
        file will not bring it back."""
        refuse_key(req)
        caller = caller_of(req)
        named = tuple(dict.fromkeys(map(ImageId, self._body.read(req).image_ids)))
        rows = {
            image_id: row
            for image_id, row in find_images(self._reader, named).items()
            if caller.sees(row.key_id)
        }
        to_delete = tuple(
            image_id
            for image_id in named
            if image_id in rows and rows[image_id].gone_reason in (None, GoneReason.LOST)
        )
        size_bytes = 0
        if to_delete:
            size_bytes = self._bus.ask(DeleteImages(image_ids=to_delete), ImagesPruned).size_bytes
        deleted = ImagesDeleted(
            deleted=to_delete,
            already_gone=tuple(one for one in named if one in rows and one not in to_delete),
            not_found=tuple(one for one in named if one not in rows),
            size_bytes=size_bytes,
        )
        send(resp, 200, deleted)
