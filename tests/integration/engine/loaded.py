"""Loading in tests, and the networks that came of it."""

from pathlib import Path

import torch
from small_engine import source_of
from torch import nn

from engine_worker.engine.loading.load_checkpoint import load_components
from engine_worker.engine.networks.components import Components, SdText, SdxlText

CPU = torch.device("cpu")


def networks(parts: Components) -> list[nn.Module]:
    encoders: list[object]
    match parts.text:
        case SdText(_, encoder):
            encoders = [encoder]
        case SdxlText(_, encoder, _, encoder_2):
            encoders = [encoder, encoder_2]
    found = [parts.denoiser, parts.vae.decoder, *encoders]
    return [network for network in found if isinstance(network, nn.Module)]


def load(path: Path, dtype: torch.dtype = torch.float32) -> Components:
    return load_components(source_of(path), CPU, dtype)
