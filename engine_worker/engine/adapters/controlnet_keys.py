"""Maps the parameters of a ControlNet to keys of the original (LDM) file layout.

Source: the layout of lllyasviel/ControlNet.
"""

from engine_worker.formats.architecture import ControlNetShape
from engine_worker.formats.ldm_keys import Stored, unet_key


def controlnet_places(name: str, shape: ControlNetShape, prefix: str) -> tuple[Stored, ...]:
    """Where the file holds the ControlNet's parameter of that name; `prefix` is how all its keys begin."""
    return (Stored(prefix + _key(name, shape)),)


def _key(name: str, shape: ControlNetShape) -> str:
    # Layers that read the map have even numbers: between them are activations.
    match name.split("."):
        case ["controlnet_cond_embedding", "conv_in", kind]:
            return f"input_hint_block.0.{kind}"
        case ["controlnet_cond_embedding", "blocks", number, kind]:
            return f"input_hint_block.{2 * int(number) + 2}.{kind}"
        case ["controlnet_cond_embedding", "conv_out", kind]:
            blocks = 2 * (len(shape.map_widths) - 1)
            return f"input_hint_block.{2 * blocks + 2}.{kind}"
        case ["controlnet_down_blocks", number, kind]:
            return f"zero_convs.{number}.0.{kind}"
        case ["controlnet_mid_block", kind]:
            return f"middle_block_out.0.{kind}"
        case _:
            return unet_key(name, shape.half)
