"""The UNet's repeated blocks, compiled by torch: several kernels become one, and less of a step is Python."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, Protocol

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.utils.torch_utils import maybe_allow_in_graph
from torch import Tensor

from engine_worker.engine.gpu.call_inputs import blank_inputs
from engine_worker.engine.gpu.call_shape import CallShape
from engine_worker.engine.networks.components import Components, Denoiser

_EAGER: Final = "force_eager"
_COMPILED_IF_IT_IS: Final = "eager_on_recompile"

Stance = Literal["force_eager", "eager_on_recompile"]
Backend = str | Callable[..., object]
"""What compiles: the name of one of torch's backends, or what is one."""


class Compilable(Protocol):
    """A network of diffusers that knows which of its blocks repeat."""

    def compile_repeated_blocks(self, *, fullgraph: bool, dynamic: bool, backend: Backend) -> None:
        """Let each of them be compiled when it is called for the first time."""


class DualModeUNet:
    """A denoiser whose blocks are compiled, called in one of the compiler's stances."""

    def __init__(self, denoiser: Denoiser, stance: Stance) -> None:
        self._denoiser = denoiser
        self._stance = stance

    def __call__(  # noqa: PLR0913 - the signature is diffusers'
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None,
        added_cond_kwargs: Mapping[str, Tensor] | None,
        down_block_additional_residuals: tuple[Tensor, ...] | None,
        mid_block_additional_residual: Tensor | None,
        return_dict: Literal[False],
    ) -> tuple[Tensor]:
        """As the denoiser itself."""
        with torch.compiler.set_stance(self._stance):
            return self._denoiser(
                sample,
                timestep,
                encoder_hidden_states=encoder_hidden_states,
                encoder_attention_mask=encoder_attention_mask,
                added_cond_kwargs=added_cond_kwargs,
                down_block_additional_residuals=down_block_additional_residuals,
                mid_block_additional_residual=mid_block_additional_residual,
                return_dict=return_dict,
            )


def compile_blocks(
    unet: Compilable, parts: Components, shapes: Sequence[CallShape], backend: Backend
) -> None:
    """Compile the blocks now, by calls of the largest and the smallest of the shapes: what lies between is
    the same to compiled code, whose sizes are variables.

    torch keeps the outcome in its own cache on the disk, so that the next engine is quicker.
    Raises: RuntimeError, if there is no compiler, or it gives up.
    """
    for kind in (Attention, BasicTransformerBlock):
        maybe_allow_in_graph(kind)  # as diffusers asks when it is imported, which lean imports put off
    unet.compile_repeated_blocks(fullgraph=True, dynamic=True, backend=backend)
    for shape in dict.fromkeys((shapes[0], shapes[-1])):
        blank_inputs(parts, shape).given_to(parts.denoiser)


def as_written(denoiser: Denoiser) -> Denoiser:
    """The denoiser without anything that was compiled of it: for layers that something is laid over, of which
    compiled code knows nothing."""
    return DualModeUNet(denoiser, _EAGER)


def as_compiled(denoiser: Denoiser) -> Denoiser:
    """The denoiser with what was compiled of it, and nothing compiled anew for a call that came without."""
    return DualModeUNet(denoiser, _COMPILED_IF_IT_IS)
