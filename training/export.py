"""Writes a trained family as users have checkpoints: one file in the original (LDM) layout, and a folder of
diffusers.

Half precision; the weights are the moving averages. The file is what ships; the folder can always be made of
it.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from engine_worker.engine.loading.saving import save_folder, save_single_file
from engine_worker.formats.ldm_layout import single_file_layout
from kernel.protocol.enums import ModelBase
from training.command import add_family_arguments, families_of, run_of, run_parser
from training.families import Family, trained_modules
from training.loop import Run
from training.networks import NATIVE_SIZE_PX, architecture
from training.vae import trained_vae

METADATA = {
    "modelspec.resolution": f"{NATIVE_SIZE_PX}x{NATIVE_SIZE_PX}",
    "modelspec.title": "automatic-spoon scenes",
}


_ARCHITECTURES = {ModelBase.SD: "stable-diffusion-v1", ModelBase.SDXL: "stable-diffusion-xl-v1-base"}


def mark_base(file: Path, base: ModelBase, kind: str) -> None:
    """Name the base in the metadata of a file whose small layers do not tell it.

    Source: https://github.com/Stability-AI/ModelSpec; `kind` is its word, such as "lora".
    """
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() or {}
    named = {"modelspec.architecture": f"{_ARCHITECTURES[base]}/{kind}"}
    save_file(load_file(file), file, metadata={**metadata, **named})


def export_folder(run: Run) -> Path:
    """Say where everything that ships is written."""
    return run.folder / "export"


def checkpoint_file(run: Run, family: Family) -> Path:
    """Say where the family's single file is written."""
    return export_folder(run) / f"scenes-{family.base.value}.safetensors"


def checkpoint_folder(run: Run, family: Family) -> Path:
    """Say where the family's folder is written."""
    return export_folder(run) / f"scenes-{family.base.value}"


def export(run: Run, family: Family, *, unfinished: bool = False) -> None:
    """Write the family's file and folder.

    Raises: NotTrained, if a part has not been trained to its end, unless `unfinished` allows that.
    """
    networks = trained_networks(run, family, unfinished=unfinished)
    layout = single_file_layout(architecture(family.base))
    checkpoint_file(run, family).parent.mkdir(parents=True, exist_ok=True)
    save_single_file(checkpoint_file(run, family), layout, networks, METADATA)
    shutil.rmtree(checkpoint_folder(run, family), ignore_errors=True)
    save_folder(checkpoint_folder(run, family), layout, networks)


def trained_networks(run: Run, family: Family, *, unfinished: bool = False) -> list[nn.Module]:
    """Load a family's UNet, VAE and text encoders, in this order, in half precision.

    Raises: NotTrained, if a part has not been trained to its end, unless `unfinished` allows that.
    """
    modules = trained_modules(family, run, unfinished=unfinished)
    encoders = [modules[name] for name in family.encoders]
    networks = [modules["unet"], trained_vae(run, family.base), *encoders]
    return [network.cpu().half().eval().requires_grad_(False) for network in networks]


def add_unfinished_argument(parser: argparse.ArgumentParser) -> None:
    """Add whether a family must be trained to its end."""
    parser.add_argument("--unfinished", action="store_true", help="whatever the number of steps done")


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the families that the command line names."""
    parser = run_parser(__doc__)
    add_family_arguments(parser)
    add_unfinished_argument(parser)
    chosen = parser.parse_args(arguments)
    run = run_of(chosen)
    for family in families_of(chosen):
        export(run, family, unfinished=chosen.unfinished)
        print(checkpoint_file(run, family), checkpoint_file(run, family).stat().st_size, "bytes")


if __name__ == "__main__":
    main()
