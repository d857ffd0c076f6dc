"""CLIP text encoders as transformers builds them: the places of their modules, and the layer that is read.

Only this module knows their structure: in transformers 5 CLIPTextModel has its modules at the top level, and
CLIPTextModelWithProjection one level below, as both had before.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from engine_worker.engine.networks.components import TextEncoder, TextOutput


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a text encoder, counted from its end: 1 is the last one."""

    from_end: int
    is_normed: bool
    """The final norm is applied to the layer, whichever it is (SD 1.5; SDXL does without)."""

    @property
    def is_output(self) -> bool:
        """True if this is the encoder's own output."""
        return self.from_end == 1 and self.is_normed


def read_layer(encoder: TextEncoder, output: TextOutput, layer: Layer) -> Tensor:
    """The hidden states of that layer. Shapes: (rows, 77, width)."""
    if layer.is_output:
        return output.last_hidden_state
    hidden = output.hidden_states[-layer.from_end]
    if not layer.is_normed:
        return hidden
    normed: Tensor = _part(encoder, "final_layer_norm")(hidden)
    return normed


def count_layers(encoder: TextEncoder) -> int:
    """The number of layers: 12 for the encoder of SD 1.5, 12 and 32 for those of SDXL."""
    return len(list(_part(encoder, "encoder.layers").children()))


def width(encoder: TextEncoder) -> int:
    """The width of a token's embedding."""
    return int(token_table(encoder).get_parameter("weight").shape[-1])


def token_table(encoder: TextEncoder) -> nn.Module:
    """The module that maps token ids to embeddings."""
    return _part(encoder, "embeddings.token_embedding")


def _part(encoder: TextEncoder, name: str) -> nn.Module:
    is_below = any(child == "text_model" for child, _ in encoder.named_children())
    return encoder.get_submodule(f"text_model.{name}" if is_below else name)
