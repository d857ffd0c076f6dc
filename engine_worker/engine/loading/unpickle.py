"""`python -m engine_worker.engine.loading.unpickle IN OUT BYTES`: converts the tensors of a pickle to
safetensors.

Runs in a process of its own with limited memory. torch reads only tensors and plain containers
(weights_only); anything else in the pickle ends the process with a reason and exit code 3.
"""

import pickle
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

EXIT_REFUSED: Final = 3
MAX_DEPTH: Final = 6
_WRAPPERS: Final = ("state_dict", "model", "module", "params_ema", "params")
"""Trainers wrap the weights once or twice."""
_PARAMETER_DICT: Final = "torch.nn.modules.container.ParameterDict"
_GLOBAL: Final = re.compile(r"\bGLOBAL ([\w.]{1,100})")
"""How torch names what it refuses."""


def main() -> int:
    """Convert one file. Returns: the exit code."""
    source, target, limit_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    try:
        convert(source, target)
    except MemoryError:
        print("it needs more memory than is plausible for its size", file=sys.stderr)
        return EXIT_REFUSED
    except Exception as error:  # noqa: BLE001 - whatever a file makes the reader raise, it is the file's fault
        print(_reason(error), file=sys.stderr)
        return EXIT_REFUSED
    return 0


def _reason(error: Exception) -> str:
    """Why a file cannot be converted, in words of our own: torch's are for programmers, who may trust the
    file, and have codes for terminals."""
    if isinstance(error, NoTensors):
        return "it has no tensors"
    unsupported = _GLOBAL.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if unsupported is not None:
        return f"it contains {unsupported[1]}, which could run code"
    return "it is not a pickle of tensors and plain containers, or it is damaged"


class NoTensors(ValueError):
    """The pickle contains no tensors."""


class ParameterDict:
    """Stands for torch's class of that name in old embeddings: only its parameters are kept."""

    def __setstate__(self, state: Mapping[str, object]) -> None:
        self.parameters = state.get("_parameters")


def convert(source: Path, target: Path) -> None:
    """Write the tensors of a pickle to a safetensors file.

    Raises: pickle.UnpicklingError, if it contains more than tensors; NoTensors; RuntimeError and others, if
    it is damaged.
    """
    import torch
    from safetensors.torch import save_file

    with torch.serialization.safe_globals([(ParameterDict, _PARAMETER_DICT)]):
        loaded: object = torch.load(source, map_location="cpu", weights_only=True)
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in _tensors(_unwrapped(loaded))}
    if not tensors:
        raise NoTensors("it has no tensors")
    save_file(tensors, target)


def _unwrapped(loaded: object) -> object:
    if isinstance(loaded, Mapping):
        for name in _WRAPPERS:
            if isinstance(inner := loaded.get(name), Mapping):
                return _unwrapped(inner)
        if (words := loaded.get("string_to_param")) is not None:
            return _embedding(words)
    return loaded


def _embedding(words: object) -> object:
    """The vectors of an embedding. Its one word is "*", which stands for the name of the file; of several
    each is a word."""
    words = words.parameters if isinstance(words, ParameterDict) else words
    if isinstance(words, Mapping) and len(words) == 1:
        return {"emb_params": next(iter(words.values()))}
    return words


def _tensors(found: object, prefix: str = "", depth: int = 0) -> "Iterator[tuple[str, torch.Tensor]]":
    """Every tensor of nested mappings by its dotted name."""
    import torch

    if isinstance(found, torch.Tensor):
        yield prefix, found
    elif isinstance(found, Mapping) and depth < MAX_DEPTH:
        for name, value in found.items():
            yield from _tensors(value, f"{prefix}.{name}" if prefix else str(name), depth + 1)


if __name__ == "__main__":
    sys.exit(main())
