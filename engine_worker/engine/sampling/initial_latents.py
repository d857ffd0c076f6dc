"""The initial latents of an image: noise, and the part of the init image that remains.

Random numbers are drawn in the order in which the stock pipelines of diffusers draw them, so that the same
seed gives the same image.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from engine_worker.engine.images.inpainting import Overlay, inpainting
from engine_worker.engine.images.input_image import Reference, decode_mask, decode_reference, fit
from engine_worker.engine.networks.components import Components, Vae
from engine_worker.engine.networks.vae import Encoded, encode
from engine_worker.engine.sampling.schedulers import Schedule
from engine_worker.engine.sampling.trajectory import InpaintMask
from engine_worker.port import Inputs
from kernel.protocol.enums import InpaintFill, InputKind, MaskMode
from kernel.protocol.errors import JobRejected
from kernel.protocol.masks import NO_MARKS
from kernel.protocol.specs import JobSpec
from kernel.protocol.values import WHITE


@dataclass(frozen=True, slots=True)
class InitImage:
    """The init image of a job and its mask, encoded. Everything is on the CPU."""

    strength: float
    reference: Encoded | None
    """None if nothing of it would be visible."""
    mask: Tensor | None
    """(1, 1, height, width) in latents: 1 is repainted, 0 is kept. None: everything is repainted."""
    masked_image: Encoded | None
    """The kept part of the image, as an inpainting UNet sees it; the other part is gray."""
    fill: InpaintFill = InpaintFill.ORIGINAL

    @property
    def tile_px(self) -> int | None:
        """The side of the tiles that its images were encoded in; None if in one piece."""
        sides = (one.tile_px for one in (self.reference, self.masked_image) if one is not None)
        return next((side for side in sides if side is not None), None)

    @property
    def is_pure_noise(self) -> bool:
        """True if the latents begin as pure noise: with a mask, strength 1 replaces the masked part
        completely. Without a mask a trace of the reference remains in the noise, as in diffusers."""
        return self.mask is not None and self.strength == 1.0


@dataclass(frozen=True, slots=True)
class InitImagePixels:
    """The input images before encoding, at the size of the job."""

    reference: Tensor | None
    """(1, 3, height_px, width_px), -1 to 1."""
    mask: Tensor | None
    """(1, 1, height_px, width_px), 0 or 1."""
    overlay: Overlay | None = None
    """What stays as it is; None without a mask."""
    warnings: tuple[str, ...] = ()


def strength_of(parts: Components, spec: JobSpec, inputs: Inputs) -> float | None:
    """The strength of the noise on a reference; None if the job's images begin as pure noise.

    Raises: JobRejected, if there is a mask without a reference.
    """
    if InputKind.REFERENCE in inputs:
        return spec.strength
    if InputKind.MASK in inputs:
        raise JobRejected("a mask requires a reference image")
    return 1.0 if parts.is_inpainting else None


def read_pixels(spec: JobSpec, inputs: Inputs) -> InitImagePixels:
    """Decode the reference image and its mask, lay one on the other, and bring both to the job's size.

    Raises: JobRejected, if one cannot be read, or the mask does not lie on the reference image or is empty.
    """
    data = inputs.get(InputKind.REFERENCE)
    if data is None:
        return InitImagePixels(None, None)
    reference = decode_reference(data, "reference image")
    warnings = (*reference.warnings, *_transparency_warning(spec, inputs, reference))
    mask = _mask(spec, inputs, reference)
    if mask is None:
        assert spec.image_fit is not None, "it has an input image"
        image = fit(reference.image, spec.width_px, spec.height_px, spec.image_fit)
        return InitImagePixels(_centered(image), None, warnings=warnings)
    found = inpainting(reference.image, mask, spec)
    hard = (pixels_of(found.mask) >= 0.5).float()
    return InitImagePixels(_centered(found.image), hard, found.overlay, (*warnings, *found.warnings))


def encode_init_image(
    parts: Components, vae: Vae, spec: JobSpec, pixels: InitImagePixels
) -> InitImage | None:
    """Encode the init image of a job; None if its images begin as pure noise.

    An inpainting UNet always has one: without a mask everything is repainted.
    """
    if not parts.is_inpainting:
        return _plain_init_image(parts, vae, spec, pixels)
    whole = torch.ones(1, 1, spec.height_px, spec.width_px)
    return _inpainting_init_image(
        parts, vae, spec, pixels.reference, whole if pixels.mask is None else pixels.mask
    )


def pixels_of(image: Image.Image) -> Tensor:
    """An image as a tensor (1, channels, height_px, width_px), 0 to 1.

    Its memory format is channels last, as diffusers passes it to the VAE: other kernels would round
    differently.
    """
    array = np.atleast_3d(np.asarray(image, dtype=np.float32) / 255.0)
    return torch.from_numpy(array[np.newaxis].transpose(0, 3, 1, 2))


def _plain_init_image(
    parts: Components, vae: Vae, spec: JobSpec, pixels: InitImagePixels
) -> InitImage | None:
    if pixels.reference is None:
        return None
    encoded = encode(vae, pixels.reference, parts.device)
    latent_mask = None if pixels.mask is None else _in_latents(pixels.mask, vae)
    assert spec.strength is not None, "it has a reference image"
    return InitImage(spec.strength, encoded, latent_mask, masked_image=None, fill=_fill(spec))


def _inpainting_init_image(
    parts: Components, vae: Vae, spec: JobSpec, reference: Tensor | None, mask: Tensor
) -> InitImage:
    if reference is None:
        strength, masked_image = 1.0, torch.zeros(1, 3, spec.height_px, spec.width_px)
    else:
        assert spec.strength is not None, "it has a reference image"
        strength, masked_image = spec.strength, reference * (mask < 0.5)
    encoded = None if reference is None or strength == 1.0 else encode(vae, reference, parts.device)
    latent_mask, masked = _in_latents(mask, vae), encode(vae, masked_image, parts.device)
    return InitImage(strength, encoded, latent_mask, masked, _fill(spec))


def _fill(spec: JobSpec) -> InpaintFill:
    return spec.inpaint_fill or InpaintFill.ORIGINAL


def _centered(image: Image.Image) -> Tensor:
    return 2.0 * pixels_of(image) - 1.0


def _mask(spec: JobSpec, inputs: Inputs, reference: Reference) -> Image.Image | None:
    """One channel (L), 255 where it is repainted: the mask, or else the reference's alpha channel."""
    mode = spec.mask_mode or MaskMode.LUMINANCE
    if InputKind.MASK in inputs:
        return decode_mask(inputs[InputKind.MASK], "mask", mode)
    if mode is not MaskMode.ALPHA:
        return None
    if reference.alpha is None:
        raise JobRejected(f"the reference image cannot be its own mask: {NO_MARKS[mode]}")
    return ImageChops.invert(reference.alpha)


def _transparency_warning(spec: JobSpec, inputs: Inputs, reference: Reference) -> tuple[str, ...]:
    if reference.alpha is None:
        return ()
    if InputKind.MASK not in inputs and spec.mask_mode is MaskMode.ALPHA:
        return (f"the transparent part of the reference image is its mask, and began as {WHITE}",)
    return (f"the reference image is transparent in places: {WHITE} was laid under it",)


def _in_latents(mask: Tensor, vae: Vae) -> Tensor:
    """Downscale a mask to latents: each takes the value of the pixel at its upper left, as in diffusers.

    If that misses all of a small mask, each takes the highest value of its pixels.
    """
    height, width = (length // vae.pixels_per_latent for length in mask.shape[-2:])
    found = interpolate(mask, size=(height, width))
    return found if found.any() else max_pool2d(mask, vae.pixels_per_latent)


@dataclass(frozen=True, slots=True)
class InitialLatents:
    """The first latents of an image and its constants; see `Trajectory`."""

    latents: Tensor
    further_channels: Tensor | None = None
    inpaint_mask: InpaintMask | None = None


def prepare_latents(
    schedule: Schedule, generator: torch.Generator, shape: tuple[int, int, int], init_image: InitImage | None
) -> InitialLatents:
    """The initial latents of one image, on the CPU. `shape` is (channels, height, width)."""
    if init_image is None:
        return InitialLatents(_pure(schedule, _noise(shape, generator)))
    reference = None if init_image.reference is None else init_image.reference.draw(generator)
    if reference is not None and not schedule.calls:
        return InitialLatents(reference)
    noise = _noise(shape, generator)
    latents = _pure(schedule, noise)
    if reference is not None and not init_image.is_pure_noise:
        begins = _under_the_mask(init_image, reference, noise)
        latents = schedule.scheduler.add_noise(begins, noise, schedule.timesteps[:1])
    if init_image.mask is None:
        return InitialLatents(latents)
    if init_image.masked_image is not None:
        return InitialLatents(latents, _further_channels(init_image.mask, init_image.masked_image, generator))
    # The stock pipeline encodes the masked image for every UNet, which advances the generator by this much.
    _noise(shape, generator)
    return InitialLatents(
        latents, inpaint_mask=None if reference is None else InpaintMask(reference, noise, init_image.mask)
    )


def _under_the_mask(init_image: InitImage, reference: Tensor, noise: Tensor) -> Tensor:
    """The reference's latents, those under the mask replaced by noise or by nothing if the job asks for it.

    As in A1111, it is the noise of the seed, which is added to them once more.
    """
    if init_image.mask is None:
        return reference
    match init_image.fill:
        case InpaintFill.LATENT_NOISE:
            return reference * (1 - init_image.mask) + noise * init_image.mask
        case InpaintFill.LATENT_NOTHING:
            return reference * (1 - init_image.mask)
        case InpaintFill.FILL | InpaintFill.ORIGINAL:
            return reference


def _noise(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    return torch.randn((1, *shape), generator=generator, dtype=torch.float32)


def _pure(schedule: Schedule, noise: Tensor) -> Tensor:
    return noise * schedule.scheduler.init_noise_sigma


def _further_channels(mask: Tensor, masked_image: Encoded, generator: torch.Generator) -> Tensor:
    return torch.cat([mask, masked_image.draw(generator)], dim=1)
