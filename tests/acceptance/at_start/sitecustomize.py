"""What Python imports by itself at its start, where PYTHONPATH leads here: it counts the steps of workers."""

import os
import sys
from pathlib import Path

if "engine_worker.main" in sys.orig_argv:
    from tests.acceptance.worker_steps import FOLDER, MODELS, count_steps

    count_steps(Path(os.environ[FOLDER]), os.environ[MODELS])
