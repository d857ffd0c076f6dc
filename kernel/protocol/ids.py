"""The types of identifiers: opaque text for objects, increasing numbers for order and authority."""

from typing import Annotated, Final, NewType

import msgspec

MAX_ID: Final = 200
_Id = Annotated[str, msgspec.Meta(max_length=MAX_ID)]
"""Bounded, so that an impossible id is rejected before the database is asked."""

ModelId = NewType("ModelId", _Id)
EngineId = NewType("EngineId", _Id)
JobId = NewType("JobId", _Id)
ImageId = NewType("ImageId", _Id)
BlobId = NewType("BlobId", str)
"""A file of a job other than its images: an input image, or a control map."""
WorkerId = NewType("WorkerId", str)
KeyId = NewType("KeyId", _Id)
"""The public part of an API key."""
TokenId = NewType("TokenId", _Id)
"""The public part of an enrollment token."""
WebhookId = NewType("WebhookId", _Id)
DeliveryId = NewType("DeliveryId", _Id)
"""Also the header `webhook-id`, by which a receiver recognizes what it has had before."""

Epoch = NewType("Epoch", int)
"""The number of a Manager start. It rises by one at every start and is never reused."""

NO_EPOCH: Final = Epoch(0)
"""Sent by a peer that does not know the Manager's epoch yet."""

Lease = NewType("Lease", int)
"""The right to report on one job: `epoch << 32
counter`, so it rises across restarts too.
"""

EventSeq = NewType("EventSeq", int)
"""The number of a recorded change. A gap tells a watcher to read the database."""

Ticket = NewType("Ticket", _Id)
"""The right to one download of an image file."""

MAX_INTEGER: Final = 2**63 - 1
"""The largest INTEGER of SQLite: numbers from a peer must fit into a column."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
"""A number of bytes, steps or images, or a seed."""
Pixels = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
"""The width or height of an image."""
