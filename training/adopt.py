"""Takes the checkpoints that ship as trained: so that adapters can be trained behind them, or they be trained
further, by whoever has not trained them.

A checkpoint that ships holds the moving averages in half precision, and nothing of what the optimizer
remembered. What has been trained in the folder already is left as it is.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from engine_worker.embedded.shipped import shipped
from engine_worker.engine.loading.saving import unpack
from training import vae
from training.command import run_from_command_line
from training.evaluate import PIPELINES
from training.families import FAMILIES, Family
from training.loop import Run, checkpoint_path, mark_trained
from training.unet import RECIPES


def adopt(run: Run) -> None:
    """Write the checkpoints of VAE, text encoders and UNets, as if they had been trained in the folder."""
    for family in FAMILIES:
        steps = run.steps or RECIPES[family.base][run.device.type].steps
        for name, modules in _parts(family).items():
            if not checkpoint_path(run.folder, name).exists():
                mark_trained(run.folder, name, modules, steps)


def _parts(family: Family) -> dict[str, nn.ModuleDict]:
    """Load what ships of a family, by the names of the trainings; the families share SD's VAE."""
    with TemporaryDirectory() as folder:
        unpacked = Path(folder) / "scenes"
        unpack(shipped(f"scenes-{family.base.value}").path, unpacked)
        pipeline = PIPELINES[family.base].from_pretrained(str(unpacked), local_files_only=True)
    found = (pipeline.text_encoder, pipeline.components.get("text_encoder_2"))
    encoders = dict(zip(family.encoders, found, strict=False))
    return {
        vae.NAME: nn.ModuleDict({"vae": pipeline.vae}).float(),
        family.text_part: nn.ModuleDict(encoders).float(),
        family.unet_part: nn.ModuleDict({"unet": pipeline.unet, **encoders}).float(),
    }


if __name__ == "__main__":
    run_from_command_line(adopt, __doc__)
