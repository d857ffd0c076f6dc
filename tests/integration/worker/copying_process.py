"""A worker's process that copies a model: `python -m tests.integration.worker.copying_process CACHE FILE N`.

When it is about to get the Nth part it prints a line, and waits for one.
"""

import sys
from pathlib import Path

from engine_worker.model_files.cache import Cache
from engine_worker.model_files.local_models import LocalModels
from tests.integration.worker.sent_models import Sender, source_of


def main() -> None:
    """Copy, with a pause."""
    cache, file, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    sender = Sender({"model.safetensors": file.read_bytes()})

    def pause() -> None:
        if len(sender.offsets) == count:
            print("paused", flush=True)
            sys.stdin.readline()

    sender.before_part = pause
    models = LocalModels((), (), Cache(cache, 10**9), sender.courier)
    print(models.bring(source_of(sender), lambda copied_bytes: None).uri, flush=True)


if __name__ == "__main__":
    main()
