"""`python -m engine_worker.embedded.random_checkpoint OUT`: a small checkpoint with random weights.

It has the layout of a real one, in miniature, and makes images of 128 x 128 pixels (of nothing) in a
second on a CPU: for trying the server, and for tests.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from engine_worker.formats.architecture import Architecture, TextEncoderShape, UNetShape, VaeShape
from kernel.protocol.enums import ModelBase

NATIVE_SIZE_PX = 128

_VAE = VaeShape(channels=(16, 32, 48, 64), resnets_per_level=2, latent_channels=4)
_SIZE_NUMBERS = 6
_SIZE_WIDTH = 32


def main(words: Sequence[str] | None = None) -> None:
    """Write a checkpoint as the command line says."""
    parser = ArgumentParser(prog="random_checkpoint", description=__doc__)
    parser.add_argument("out", type=Path, help="the file, or the folder, to write")
    parser.add_argument("--base", choices=[str(base) for base in ModelBase], default=str(ModelBase.SD))
    parser.add_argument("--layout", choices=["single", "folder"], default="single")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    write_random_checkpoint(
        arguments.out,
        base=ModelBase(arguments.base),
        is_folder=arguments.layout == "folder",
        seed=arguments.seed,
    )


def write_random_checkpoint(out: Path, *, base: ModelBase, is_folder: bool = False, seed: int = 0) -> None:
    """Write a checkpoint; the same seed gives the same weights in both layouts."""
    # Imported late, so that `--help` need not wait for torch.
    from engine_worker.engine.loading.random_weights import write_random_file, write_random_folder

    out.parent.mkdir(parents=True, exist_ok=True)
    write = write_random_folder if is_folder else write_random_file
    write(out, small_architecture(base), seed)


def small_architecture(base: ModelBase) -> Architecture:
    """The miniature of a base: every kind of block that the real one has, as narrow as it can be."""
    # The widths of SDXL's two encoders differ, as in the real one: by them they are told apart.
    encoders = (_text_encoder(96, None), _text_encoder(128, 128))
    return Architecture(
        base=base,
        unet=_sd_unet() if base is ModelBase.SD else _sdxl_unet(),
        vae=_VAE,
        text_encoders=encoders if base is ModelBase.SDXL else encoders[:1],
        prediction_type="epsilon",
        has_zero_terminal_snr=False,
        native_size_px=NATIVE_SIZE_PX,
    )


def _sd_unet() -> UNetShape:
    return UNetShape(
        in_channels=4,
        out_channels=4,
        channels=(32, 64, 96, 96),
        resnets_per_level=2,
        transformer_depths=(1, 1, 1, 0),
        middle_depth=1,
        cross_attention_width=96,
        uses_linear_projection=False,
        added_width=None,
    )


def _sdxl_unet() -> UNetShape:
    return UNetShape(
        in_channels=4,
        out_channels=4,
        channels=(32, 64, 96),
        resnets_per_level=2,
        transformer_depths=(0, 1, 2),
        middle_depth=2,
        cross_attention_width=96 + 128,
        uses_linear_projection=True,
        added_width=_SIZE_NUMBERS * _SIZE_WIDTH + 128,
    )


def _text_encoder(width: int, projection_width: int | None) -> TextEncoderShape:
    return TextEncoderShape(
        vocabulary=49408,
        tokens=77,
        width=width,
        layers=2,
        inner_width=4 * width,
        projection_width=projection_width,
    )


if __name__ == "__main__":
    main()
