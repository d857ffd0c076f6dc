"""Loading in tests, and the networks that came of it."""

from pathlib import Path

import torch
from small_engine import source_of
from torch import nn

from engine_worker.engine.loading import load_parts
from engine_worker.engine.parts import Parts, SdText, SdxlText

CPU = torch.device("cpu")


def networks(parts: Parts) -> list[nn.Module]:
    encoders: list[object]
    match parts.text:
        case SdText(_, encoder):
            encoders = [encoder]
        case SdxlText(_, encoder, _, encoder_2):
            encoders = [encoder, encoder_2]
    found = [parts.denoiser, parts.vae.decoder, *encoders]
    return [network for network in found if isinstance(network, nn.Module)]


def load(path: Path, dtype: torch.dtype = torch.float32) -> Parts:
    return load_parts(source_of(path), CPU, dtype)
