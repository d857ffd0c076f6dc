"""Names for the identifiers that travel: opaque text for things, rising numbers for authority."""

from typing import Annotated, Final, NewType

import msgspec

MAX_ID: Final = 200
_Id = Annotated[str, msgspec.Meta(max_length=MAX_ID)]
"""An id that nothing has is not found; one that nothing can have is not even looked for."""

ModelId = NewType("ModelId", _Id)
EngineId = NewType("EngineId", _Id)
JobId = NewType("JobId", _Id)
ImageId = NewType("ImageId", _Id)
BlobId = NewType("BlobId", str)
"""A file of a job that is no image of its own: what came with it, or a map that was drawn for it."""
WorkerId = NewType("WorkerId", str)

Epoch = NewType("Epoch", int)
"""The Manager's boot number. It rises by one at every start and is never reused."""

NO_EPOCH: Final = Epoch(0)
"""What a peer says before it knows the Manager's epoch."""

Lease = NewType("Lease", int)
"""The right to report on one job. `epoch << 32 | counter`, so it rises across restarts too."""

EventSeq = NewType("EventSeq", int)
"""The number of a recorded change. A gap tells a watcher to read the database again."""

Ticket = NewType("Ticket", _Id)
"""The right to hand out one image file once."""

MAX_INTEGER: Final = 2**63 - 1
"""The largest INTEGER of SQLite: what a peer reports has to fit into a column."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
"""A number of bytes, steps or pictures, or a seed."""
Pixels = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
"""The width or height of a picture."""
