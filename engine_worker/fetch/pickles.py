"""Converts pickled weights, if they are allowed, to safetensors in a separate process."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from engine_worker.formats.allowed_paths import ModelFile
from kernel.protocol.errors import ModelUnreadable

CONVERTER: Final = "engine_worker.engine.loading.unpickle"
EXIT_REFUSED: Final = 3
"""The converter's exit code if it has said a reason."""
LIMIT_S: Final = 480.0
"""Seconds; less than the Manager waits for a model's progress."""
BASE_BYTES: Final = 8 << 30
"""Address space that torch maps by itself; most of it is never used."""
COPIES: Final = 3
"""The file, its tensors, and one tensor on its way to the disk."""
REFUSAL: Final = (
    "is a pickle, which can run arbitrary code when opened: use a .safetensors file of the model, or set "
    "models.allow_pickle = true to have it converted"
)


def convert(held: ModelFile, target: Path) -> None:
    """Write the tensors of a pickle to a safetensors file.

    Raises: ModelUnreadable, if it contains more than tensors, or exceeds the limits of memory or time.
    """
    limit = BASE_BYTES + COPIES * held.size_bytes
    isolation = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *isolation, "-m", CONVERTER, str(held.place), str(target), str(limit)]
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=(held.fileno(),),
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelUnreadable("converting the pickle timed out") from None
    if ended.returncode != 0:
        raise ModelUnreadable(f"the pickle cannot be converted: {_reason(ended)}")


def _reason(ended: subprocess.CompletedProcess[str]) -> str:
    """The converter's own sentence; whatever else is on its stderr is for nobody who registers models."""
    words = ended.stderr.strip().splitlines()
    return words[-1] if ended.returncode == EXIT_REFUSED and words else "the converter crashed"
