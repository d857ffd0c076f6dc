"""The full-size SD 1.5 checkpoint with random weights, made once, and its configurations for diffusers.

`python -m bench.product.checkpoint FOLDER` writes both, where they are not there yet.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine_worker.formats.architecture import Architecture
from engine_worker.formats.released import SD

SPARE_BYTES: Final = 6 << 30
"""What the disk must have left before the file is written: it has 2.1 GB."""
CLASSES: Final = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "scheduler": ("diffusers", "EulerDiscreteScheduler"),
    "safety_checker": (None, None),
    "feature_extractor": (None, None),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where it lies below a folder."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "sd15-random.safetensors"

    @property
    def configurations(self) -> Path:
        """Of a diffusers folder, but without weights: `from_single_file` would otherwise ask the hub."""
        return self.folder / "configurations"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """BENCH_CACHE, or a folder of ours in the user's cache."""
    if chosen := environ.get("BENCH_CACHE"):
        return Path(chosen)
    caches = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "automatic-spoon" / "bench"


def ensure_checkpoint(folder: Path) -> Checkpoint:
    """What is missing is written by a process of its own, so that this one needs neither torch nor 5 GB.

    Raises: SystemExit, if it cannot be written.
    """
    made = Checkpoint(folder)
    if not (made.file.exists() and made.configurations.exists()):
        print(f"writing a checkpoint of 2.1 GB to {folder}, once", file=sys.stderr, flush=True)
        if subprocess.run([sys.executable, "-m", "bench.product.checkpoint", str(folder)]).returncode:
            raise SystemExit("the checkpoint could not be written: what was said is above")
    return made


def main() -> None:
    """Raises: SystemExit, if the disk has no room."""
    made = Checkpoint(Path(sys.argv[1]))
    made.folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(made.folder).free < SPARE_BYTES:
        raise SystemExit(f"{made.folder} has no room for the checkpoint: BENCH_CACHE names another folder")
    write(made, SD)


def write(made: Checkpoint, architecture: Architecture) -> None:
    """What is not there yet. The weights have another name until they are whole."""
    from engine_worker.engine.loading.random_weights import write_random_file

    write_configurations(made.configurations, architecture)
    if not made.file.exists():
        partial = made.file.with_suffix(".partial")
        write_random_file(partial, architecture, seed=1)
        partial.replace(made.file)


def write_configurations(folder: Path, architecture: Architecture) -> None:
    """In diffusers' own form."""
    import diffusers
    import torch
    from transformers import CLIPTextConfig, CLIPTokenizer

    from engine_worker.engine.networks.tokenizer import make_tokenizer
    from engine_worker.formats.ldm_layout import single_file_layout

    drawn = single_file_layout(architecture)
    with torch.device("meta"):
        for name, plan in zip(("unet", "vae"), drawn.networks, strict=False):
            getattr(diffusers, str(CLASSES[name][1])).from_config(dict(plan.config)).save_config(
                folder / name
            )
    CLIPTextConfig(**drawn.text_encoders[0].config).save_pretrained(folder / "text_encoder")
    tokenizer = make_tokenizer(drawn.tokenizers[0])
    assert isinstance(tokenizer, CLIPTokenizer)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler = diffusers.EulerDiscreteScheduler.from_config(dict(drawn.scheduler_config))
    scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__, **CLASSES}
    (folder / "model_index.json").write_text(json.dumps({**index, "requires_safety_checker": False}))


if __name__ == "__main__":
    main()
