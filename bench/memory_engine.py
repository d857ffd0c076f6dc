"""`python -m bench.memory_engine CASE FOLDER`: the memory of an engine in a process like a worker's.

It has a worker's heap and a worker's imports, and its environment is to be one's
(`kernel/protocol/join.py:WORKER_ENVIRON`): each moves the figure by more than the formula may be off.
"""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Final

from bench.memory_cases import Case, ensure_file
from engine_worker.preload import EngineImports
from kernel.process.memory import keep_freed_memory

THREADS: Final = 1


def main() -> None:
    """Measure the case of the command line."""
    parser = ArgumentParser(prog="bench.memory_engine", description=__doc__)
    parser.add_argument("case", type=Case.of)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=THREADS, help=f"that share the work ({THREADS})")
    parser.add_argument("--steps", type=int, nargs="+", help="of the pictures, in turns")
    parser.add_argument(
        "--file", type=Path, help="a checkpoint to take instead of one with the case's widths"
    )
    options = parser.parse_args()
    keep_freed_memory()
    EngineImports().wait()
    # Imported here: the engine's imports come first, and are lean.
    import torch

    from bench.memory_work import STEPS, measure

    torch.set_num_threads(options.threads)
    path = options.file or ensure_file(options.case, options.folder)
    print(json.dumps({"process": measure(options.case, path, options.steps or STEPS)}))


if __name__ == "__main__":
    main()
