"""Names for the identifiers that travel: opaque text for things, rising numbers for authority."""

from typing import Final, NewType

ModelId = NewType("ModelId", str)
EngineId = NewType("EngineId", str)
JobId = NewType("JobId", str)
ImageId = NewType("ImageId", str)
BlobId = NewType("BlobId", str)
WorkerId = NewType("WorkerId", str)

Epoch = NewType("Epoch", int)
"""The Manager's boot number. It rises by one at every start and is never reused."""

NO_EPOCH: Final = Epoch(0)
"""What a peer says before it knows the Manager's epoch."""

Lease = NewType("Lease", int)
"""The right to report on one job. `epoch << 32 | counter`, so it rises across restarts too."""

EventSeq = NewType("EventSeq", int)
"""The number of a recorded change. A gap tells a watcher to read the database again."""

Ticket = NewType("Ticket", str)
"""The right to hand out one image file once."""
