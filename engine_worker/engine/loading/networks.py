"""Builds empty networks from their configurations, and fills in their parameters."""

from collections.abc import Callable, Mapping, Sequence

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine_worker.formats.checkpoint_layout import Config, Network, NetworkPlan
from engine_worker.formats.network_options import known_options
from kernel.protocol.errors import ModelUnreadable


def build_empty(plan: NetworkPlan) -> nn.Module:
    """A network whose parameters have shapes but no memory (meta device).

    Raises: ModelUnreadable, if the configuration is invalid.
    """
    try:
        with torch.device("meta"), _Uninitialized():
            return _construct(plan.network, plan.config)
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ModelUnreadable(f"the configuration of the {plan.network.value} is invalid: {error}") from error


def fill(module: nn.Module, parameters: Mapping[str, Tensor], device: torch.device) -> nn.Module:
    """Give an empty network its parameters.

    Raises: ModelUnreadable, if a parameter or buffer stays empty.
    """
    module.load_state_dict(dict(parameters), strict=True, assign=True)
    for part in module.modules():
        # The only buffer that CLIP has and files do not contain: 0, 1, 2 ... per position.
        positions = part._buffers.get("position_ids")
        if positions is not None and positions.is_meta:
            part.register_buffer(
                "position_ids",
                torch.arange(positions.shape[-1], device=device).unsqueeze(0),
                persistent=False,
            )
    empty = [name for name, held in (*module.named_parameters(), *module.named_buffers()) if held.is_meta]
    if empty:
        raise ModelUnreadable(f"{type(module).__name__} has no weights for {', '.join(empty)}")
    return module.requires_grad_(False).eval()


def size_bytes(module: nn.Module) -> int:
    """The memory of the network's parameters."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


class _Uninitialized(TorchFunctionMode):
    """Skips the initialization of weights, and the numbering of positions, which `fill` does. On the meta
    device torch does both through its compiler, whose import takes more than half a second."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        options = kwargs or {}
        if getattr(func, "__module__", None) == init.__name__:
            return options["tensor"] if "tensor" in options else args[0]
        if func is torch.arange and len(args) == 1 and isinstance(args[0], int) and not options:
            return torch.empty(args[0], dtype=torch.int64)
        return func(*args, **options)


def _construct(network: Network, config: Config) -> nn.Module:
    module: nn.Module
    known = known_options(network, config)
    match network:
        case Network.UNET:
            module = UNet2DConditionModel.from_config(known)
        case Network.VAE:
            module = AutoencoderKL.from_config(known)
        case Network.TEXT_ENCODER:
            module = CLIPTextModel(CLIPTextConfig.from_dict(known))
        case Network.PROJECTING_TEXT_ENCODER:
            module = CLIPTextModelWithProjection(CLIPTextConfig.from_dict(known))
        case Network.CONTROLNET:
            module = ControlNetModel.from_config(known)
    return module
