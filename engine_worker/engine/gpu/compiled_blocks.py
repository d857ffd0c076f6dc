"""Compiles the UNet's repeated blocks with torch: fewer kernels, and less Python per step."""

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
"""A compiler backend of torch: its name, or a function."""


class Compilable(Protocol):
    """A network of diffusers that knows its repeated blocks."""

    def compile_repeated_blocks(self, *, fullgraph: bool, dynamic: bool, backend: Backend) -> None:
        """Compile each of them at its first call."""


class DualModeUNet:
    """A denoiser with compiled blocks, called in one of the compiler's stances."""

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
    """Compile the blocks now, by calls of the largest and the smallest shape; in compiled code, sizes are
    variables, so it serves all shapes between.

    torch caches the result on disk, so the next engine starts faster.
    Raises: RuntimeError, if there is no compiler, or it fails.
    """
    for kind in (Attention, BasicTransformerBlock):
        maybe_allow_in_graph(kind)  # as diffusers asks when it is imported, which lean imports put off
    unet.compile_repeated_blocks(fullgraph=True, dynamic=True, backend=backend)
    for shape in dict.fromkeys((shapes[0], shapes[-1])):
        blank_inputs(parts, shape).given_to(parts.denoiser)


def as_written(denoiser: Denoiser) -> Denoiser:
    """The denoiser without its compiled code, for layers with hooks, which compiled code ignores."""
    return DualModeUNet(denoiser, _EAGER)


def as_compiled(denoiser: Denoiser) -> Denoiser:
    """The denoiser with its compiled code. A call that does not match is run eagerly instead of compiled
    anew."""
    return DualModeUNet(denoiser, _COMPILED_IF_IT_IS)
