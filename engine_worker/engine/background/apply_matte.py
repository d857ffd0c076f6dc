"""Removes the background of finished images, with one or several removers in sequence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from engine_worker.engine.background.input_format import NOTHING_SAID
from engine_worker.engine.background.remover import Mask, Remover, load_remover
from engine_worker.engine.images.output_file import Color, Pixels, laid_on
from engine_worker.engine.runtime.lru_cache import LruCache
from engine_worker.formats.allowed_paths import ANYWHERE, open_file, resolve
from engine_worker.formats.onnx_model import read_onnx
from kernel.protocol.errors import ModelUnreadable
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource

# Large models take a gigabyte each.
_KEPT: Final = 2


class Removers:
    """The background removers of one engine, loaded on first use; for one thread."""

    def __init__(self, device: torch.device, roots: Sequence[Path] = ANYWHERE) -> None:
        """Their files may lie in these folders."""
        self._roots = roots
        self._cuda_device = (device.index or 0) if device.type == "cuda" else None
        self._kept: LruCache[tuple[ModelId, str], Remover] = LruCache(max_count=_KEPT)

    @property
    def is_gpu_wanted(self) -> bool:
        return self._cuda_device is not None

    def load(self, source: ModelSource) -> Remover:
        """The remover of that model.

        Raises: ModelUnreadable, NotInstalled, OutOfMemory.
        """
        return self._kept.get((source.model_id, source.uri), lambda: self._load(source))

    def _load(self, source: ModelSource) -> Remover:
        said = source.preparation or NOTHING_SAID
        held = open_file(resolve(source.uri, self._roots), self._roots)
        try:
            read_onnx(held)  # once more as when it was registered: it refers to no other file
        except ModelUnreadable as error:
            raise ModelUnreadable(f"cannot load {source.name} as an ONNX model: {error.detail}") from error
        return load_remover(held, source.name, self._cuda_device, said)


def cut_out(pixels: Pixels, removers: Sequence[Remover], color: Color) -> Pixels:
    """The image with transparency. Shapes: (height, width, 3) to (height, width, 4).

    Each remover sees the result of those before it on the background color; a removed pixel stays removed.
    Fully transparent pixels are black, so that the background is not left in the file.
    Raises: ModelUnreadable, OutOfMemory.
    """
    kept: Mask = np.ones(pixels.shape[:2], dtype=np.float32)
    seen = pixels
    for remover in removers:
        kept = kept * remover.mask(seen)
        seen = laid_on(_with_transparency(pixels, kept), color)
    return _with_transparency(pixels, kept)


def is_nothing_left(pixels: Pixels) -> bool:
    """True if an image is completely transparent. Shapes: (height, width, 4)."""
    return not pixels[:, :, 3].any()


def _with_transparency(pixels: Pixels, kept: Mask) -> Pixels:
    alpha = (kept * 255).round().astype(np.uint8)[:, :, None]
    return np.concatenate([np.where(alpha > 0, pixels, 0).astype(np.uint8), alpha], axis=2)
