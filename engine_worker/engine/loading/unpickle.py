"""`python -m engine_worker.engine.loading.unpickle IN OUT BYTES`: converts the tensors of a pickle to
safetensors.

Runs in a process of its own with limited memory. torch reads only tensors and plain containers
(weights_only); anything else in the pickle ends the process with a message and exit code 3.
"""

import pickle
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


def main() -> int:
    """Convert one file. Returns: the exit code."""
    source, target, limit_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    try:
        convert(source, target)
    except MemoryError:
        print("it needs more memory than is plausible for its size", file=sys.stderr)
        return EXIT_REFUSED
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        print(str(error).splitlines()[0] if str(error) else type(error).__name__, file=sys.stderr)
        return EXIT_REFUSED
    return 0


def convert(source: Path, target: Path) -> None:
    """Write the tensors of a pickle to a safetensors file.

    Raises: pickle.UnpicklingError, if it contains more than tensors; ValueError, if it contains none.
    """
    import torch
    from safetensors.torch import save_file

    loaded: object = torch.load(source, map_location="cpu", weights_only=True)
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in _tensors(_unwrapped(loaded))}
    if not tensors:
        raise ValueError("it has no tensors")
    save_file(tensors, target)


def _unwrapped(loaded: object) -> object:
    if isinstance(loaded, Mapping):
        for name in _WRAPPERS:
            if isinstance(inner := loaded.get(name), Mapping):
                return _unwrapped(inner)
        if isinstance(words := loaded.get("string_to_param"), Mapping):
            return dict(zip(("emb_params",), words.values(), strict=False))
    return loaded


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
