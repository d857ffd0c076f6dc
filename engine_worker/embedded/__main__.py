"""`python -m engine_worker.embedded`: which models ship with the project, and where they lie."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from engine_worker.embedded.shipped import SHIPPED, Shipped, shipped
from kernel.protocol.enums import ModelType


def main(words: Sequence[str] | None = None) -> None:
    """Print a line for each model; with a name, its path alone, or make a folder of diffusers of it."""
    parser = ArgumentParser(prog="embedded", description=__doc__)
    parser.add_argument(
        "name", nargs="?", choices=[model.name for model in SHIPPED], help="print where this one lies"
    )
    parser.add_argument("--folder", type=Path, help="write this checkpoint there, as a folder of diffusers")
    chosen = parser.parse_args(words)
    if chosen.name is None:
        print("\n".join(map(described, SHIPPED)))
        return
    model = shipped(chosen.name)
    if chosen.folder is None:
        print(model.path)
    elif model.model_type is ModelType.CHECKPOINT:
        _unpack(model.path, chosen.folder)
        print(chosen.folder)
    else:
        parser.error(f"--folder is for checkpoints; {model.name} is a {model.model_type}")


def described(model: Shipped) -> str:
    """Say a model in one line."""
    base = model.base or "any base"
    return f"{model.name:<14}{model.model_type:<12}{base:<10}{model.effect}"


def _unpack(checkpoint: Path, folder: Path) -> None:
    # Imported late, so that the list need not wait for torch.
    from engine_worker.engine.loading.saving import unpack

    unpack(checkpoint, folder)


if __name__ == "__main__":
    main()
