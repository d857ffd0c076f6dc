"""What A1111's clients send, with A1111's names and defaults. Null means not given."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kernel.protocol.ids import MAX_INTEGER

JsonValue = Annotated[object, Meta(extra_json_schema={"description": "Any JSON."})]
Json = dict[str, JsonValue]
Text = Annotated[str, Meta(max_length=100_000)]
Word = Annotated[str, Meta(max_length=1_000)]
Base64 = Annotated[
    str,
    Meta(
        description="PNG, JPEG or WebP file as base64 or as a data: URL.",
        extra_json_schema={"contentEncoding": "base64"},
    ),
]
Number = Annotated[int, Meta(ge=-1, le=MAX_INTEGER)]
Few = Annotated[int, Meta(ge=1, le=10_000)]
Side = Annotated[int, Meta(ge=1, le=100_000)]


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What text to image and image to image have in common."""

    prompt: Text = ""
    negative_prompt: Text = ""
    styles: tuple[Word, ...] = ()
    seed: Number = -1
    subseed: int = -1
    subseed_strength: float = 0.0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    sampler_name: Word | None = None
    sampler_index: Word | None = None
    scheduler: Word | None = None
    batch_size: Few = 1
    n_iter: Few = 1
    steps: int = 50
    cfg_scale: float = 7.0
    distilled_cfg_scale: float | None = None
    width: Side = 512
    height: Side = 512
    clip_skip: int | None = None
    restore_faces: bool = False
    tiling: bool = False
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    eta: float | None = None
    denoising_strength: float | None = None
    s_min_uncond: float = 0.0
    s_churn: float = 0.0
    s_tmax: float | None = None
    s_tmin: float = 0.0
    s_noise: float = 1.0
    override_settings: Json = {}
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: Word | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool = False
    comments: Json = {}
    force_task_id: Word | None = None
    infotext: Text | None = None
    script_name: Word | None = None
    script_args: tuple[JsonValue, ...] = ()
    send_images: bool = True
    save_images: bool = False
    alwayson_scripts: Json = {}


class TextToImage(Generation, frozen=True, kw_only=True):
    """POST /sdapi/v1/txt2img"""

    enable_hr: bool = False
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: float = 2.0
    hr_upscaler: Word | None = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: Word | None = None
    hr_additional_modules: tuple[Word, ...] = ()
    hr_sampler_name: Word | None = None
    hr_scheduler: Word | None = None
    hr_prompt: Text = ""
    hr_negative_prompt: Text = ""
    hr_cfg: float | None = None
    hr_distilled_cfg: float | None = None
    firstpass_image: Base64 | None = None


class ImageToImage(Generation, frozen=True, kw_only=True):
    """POST /sdapi/v1/img2img"""

    init_images: tuple[Base64, ...] | None = None
    resize_mode: int = 0
    denoising_strength: float | None = 0.75
    image_cfg_scale: float | None = None
    mask: Base64 | None = None
    mask_blur: int | None = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float | None = None
    latent_mask: Base64 | None = None
    include_init_images: bool = False


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What both routes for finished images take."""

    resize_mode: int = 0
    show_extras_results: bool = True
    gfpgan_visibility: float = 0.0
    codeformer_visibility: float = 0.0
    codeformer_weight: float = 0.0
    upscaling_resize: float = 2.0
    upscaling_resize_w: Side = 512
    upscaling_resize_h: Side = 512
    upscaling_crop: bool = True
    upscaler_1: Word = "None"
    upscaler_2: Word = "None"
    extras_upscaler_2_visibility: float = 0.0
    upscale_first: bool = False


class ExtrasOfOne(Extras, frozen=True, kw_only=True):
    """POST /sdapi/v1/extra-single-image"""

    image: Base64 = ""


class NamedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image of a list, under the name of its file."""

    data: Base64
    name: Word = ""


class ExtrasOfMany(Extras, frozen=True, kw_only=True):
    """POST /sdapi/v1/extra-batch-images"""

    image_list: tuple[NamedImage, ...] = msgspec.field(default=(), name="imageList")


class PngInfoInput(msgspec.Struct, frozen=True, kw_only=True):
    """POST /sdapi/v1/png-info"""

    image: Base64 = ""


class InterrogateInput(msgspec.Struct, frozen=True, kw_only=True):
    """POST /sdapi/v1/interrogate"""

    image: Base64 = ""
    model: Word = "clip"


class TaskInput(msgspec.Struct, frozen=True, kw_only=True):
    """POST /internal/progress"""

    id_task: Word = ""
    id_live_preview: int = -1
    live_preview: bool = True


class DetectInput(msgspec.Struct, frozen=True, kw_only=True):
    """POST /controlnet/detect: the images have another name in each generation of clients."""

    controlnet_module: Word = "none"
    controlnet_input_images: tuple[Base64, ...] = ()
    controlnet_images: tuple[Base64, ...] = ()
    controlnet_processor_res: int = 512
    controlnet_threshold_a: float = 64.0
    controlnet_threshold_b: float = 64.0
    controlnet_masks: tuple[Base64, ...] = ()
    low_vram: bool = False


class RembgInput(msgspec.Struct, frozen=True, kw_only=True):
    """POST /rembg and /sdapi/v1/rembg"""

    input_image: Base64 = ""
    model: Word = "u2net"
    return_mask: bool = False
    alpha_matting: bool = False
    alpha_matting_foreground_threshold: int = 240
    alpha_matting_background_threshold: int = 10
    alpha_matting_erode_size: int = 10
