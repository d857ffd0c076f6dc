"""The routes that A1111's clients call, at the top level, where they look for them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import falcon
import msgspec

from api.http.compat.a1111 import answers as a
from api.http.compat.a1111 import requests as r
from api.http.compat.a1111.control import Control
from api.http.compat.a1111.generation import Generation
from api.http.compat.a1111.image_tools import ImageTools
from api.http.compat.a1111.job_tools import JobTools
from api.http.compat.a1111.lists import Lists
from api.http.compat.a1111.progress import ProgressOf
from api.http.contract import errors as http
from api.http.framework.openapi import ASKING, QUEUE_LIMITS
from api.http.framework.route import Content, ListOf, Route
from kernel.protocol import errors as e

PREFIX: Final = "/sdapi/v1"
_MODELS: Final = (e.ModelMissing, e.WrongModelType, e.ModelNotReady, e.WrongModelBase, e.NotEnoughMemory)
_JOBS: Final = (
    *(*_MODELS, e.EngineNotFound, e.JobNotFound, *QUEUE_LIMITS, e.DiskFull, e.NotInstalled, e.NotSupported),
    *(e.EmptyMask, e.JobRejected, e.ModelUnreadable, e.EngineFailed, e.WorkerCrashed, e.JobBroke),
    *(e.InputsLost, e.OutOfMemory, e.DeviceUnavailable, e.ImageGone, e.ImageBusy),
    *(http.TooManyWaits, http.JobRunning, http.JobCancelled, http.InputGone),
)


@dataclass(frozen=True, slots=True)
class A1111:
    """The routes for A1111's clients."""

    generation: Generation
    progress: ProgressOf
    lists: Lists
    control: Control
    images: ImageTools
    tools: JobTools


NOTHING: Final = (None, None)


# fmt: off
def a1111_routes(x: A1111) -> tuple[Route, ...]:
    """The table."""
    return (*_images(x), *_tasks(x), *_control(x), *_lists(x), *_controlnet(x))


def _images(x: A1111) -> tuple[Route, ...]:
    """Make images, and change them."""
    return (
        _post("webui_text_to_image", f"{PREFIX}/txt2img", x.generation.from_text, "Make images from text",
              (r.TextToImage, a.GeneratedFromText), (*_JOBS, http.SamplerNotFound)),
        _post("webui_image_to_image", f"{PREFIX}/img2img", x.generation.from_image,
              "Make images from an image", (r.ImageToImage, a.GeneratedFromImage),
              (*_JOBS, http.SamplerNotFound, http.InitImageNotFound)),
        _post("webui_extra_single_image", f"{PREFIX}/extra-single-image", x.images.change_one,
              "Change the size of an image", (r.ExtrasOfOne, a.ExtrasImage), (e.NotSupported,)),
        _post("webui_extra_batch_images", f"{PREFIX}/extra-batch-images", x.images.change_many,
              "Change the size of images", (r.ExtrasOfMany, a.ExtrasImages), (e.NotSupported,)),
        _post("webui_png_info", f"{PREFIX}/png-info", x.images.show_info,
              "Read how an image was made", (r.PngInfoInput, a.PngInfo)),
        _post("webui_interrogate", f"{PREFIX}/interrogate", x.control.interrogate,
              "Describe an image: not supported", (r.InterrogateInput, None), (e.NotSupported,)),
        *(_post(name, path, x.tools.remove_background, "Remove the background of an image",
                (r.RembgInput, a.OneImage), _JOBS)
          for name, path in (("rembg", "/rembg"), ("webui_rembg", f"{PREFIX}/rembg"))),
    )


def _tasks(x: A1111) -> tuple[Route, ...]:
    """Look after jobs."""
    return (
        _get("webui_progress", f"{PREFIX}/progress", x.progress.show,
             "Show the progress of the caller's job", a.TaskProgress),
        _post("webui_interrupt", f"{PREFIX}/interrupt", x.progress.interrupt, "End the caller's job",
              NOTHING),
        _post("webui_skip", f"{PREFIX}/skip", x.progress.skip, "End the caller's job of one image",
              NOTHING),
        _post("webui_task_progress", "/internal/progress", x.progress.show_task,
              "Show the progress of the job with an id", (r.TaskInput, a.QueuedTask)),
        _get("webui_pending_tasks", "/internal/pending-tasks", x.progress.list,
             "List the ids of the caller's open jobs", a.PendingTasks),
    )


def _control(x: A1111) -> tuple[Route, ...]:
    """Set options, and look for models."""
    return (
        _get("webui_options", f"{PREFIX}/options", x.control.show_options,
             "Show the caller's options", a.Options),
        _post("webui_set_options", f"{PREFIX}/options", x.control.set_options, "Set options of the caller",
              (a.Options, None), (e.ModelMissing,)),
        _get("webui_cmd_flags", f"{PREFIX}/cmd-flags", x.lists.flags, "Show flags", a.Flags),
        *(_post(f"webui_refresh_{name}", f"{PREFIX}/refresh-{name}", x.control.refresh,
                "Look for models in models.folders", NOTHING, (http.TooManyWaits,))
          for name in ("checkpoints", "vae", "loras", "embeddings")),
        _post("webui_unload_checkpoint", f"{PREFIX}/unload-checkpoint", x.control.unload,
              "Stop idle engines of the caller's checkpoint", NOTHING),
        _post("webui_reload_checkpoint", f"{PREFIX}/reload-checkpoint", x.control.reload,
              "Do nothing: an engine loads with its next job", NOTHING),
        *(_post(f"webui_{verb}_{what}", f"{PREFIX}/{verb}/{what}", x.control.train,
                "Train: not supported", NOTHING, (e.NotSupported,))
          for verb in ("create", "train") for what in ("embedding", "hypernetwork")),
    )


def _lists(x: A1111) -> tuple[Route, ...]:
    """List what there is."""
    return (
        _get("webui_samplers", f"{PREFIX}/samplers", x.lists.samplers,
             "List samplers", ListOf(a.SamplerItem)),
        _get("webui_schedulers", f"{PREFIX}/schedulers", x.lists.schedulers,
             "List schedule types", ListOf(a.ScheduleItem)),
        _get("webui_upscalers", f"{PREFIX}/upscalers", x.lists.upscalers,
             "List upscalers", ListOf(a.UpscalerItem)),
        _get("webui_latent_upscale_modes", f"{PREFIX}/latent-upscale-modes", x.lists.nothing,
             "List none", ListOf(a.NameItem)),
        _get("webui_sd_models", f"{PREFIX}/sd-models", x.lists.checkpoints,
             "List checkpoints and engines", ListOf(a.CheckpointItem)),
        _get("webui_sd_vae", f"{PREFIX}/sd-vae", x.lists.vaes, "List VAEs", ListOf(a.VaeItem)),
        _get("webui_sd_modules", f"{PREFIX}/sd-modules", x.lists.vaes,
             "List VAEs, as Forge does", ListOf(a.VaeItem)),
        _get("webui_loras", f"{PREFIX}/loras", x.lists.loras, "List LoRAs", ListOf(a.LoraItem)),
        _get("webui_embeddings", f"{PREFIX}/embeddings", x.lists.embeddings,
             "List embeddings", a.Embeddings),
        _get("webui_hypernetworks", f"{PREFIX}/hypernetworks", x.lists.nothing,
             "List none", ListOf(a.PathItem)),
        _get("webui_face_restorers", f"{PREFIX}/face-restorers", x.lists.nothing,
             "List none", ListOf(a.FaceRestorerItem)),
        _get("webui_realesrgan_models", f"{PREFIX}/realesrgan-models", x.lists.nothing,
             "List none", ListOf(a.PathItem)),
        _get("webui_prompt_styles", f"{PREFIX}/prompt-styles", x.lists.nothing,
             "List none", ListOf(a.StyleItem)),
        _get("webui_extensions", f"{PREFIX}/extensions", x.lists.nothing, "List none", ListOf(a.NameItem)),
        _get("webui_scripts", f"{PREFIX}/scripts", x.lists.scripts, "List scripts", a.ScriptNames),
        _get("webui_script_info", f"{PREFIX}/script-info", x.lists.script_infos,
             "Describe scripts", ListOf(a.ScriptItem)),
        _get("webui_memory", f"{PREFIX}/memory", x.lists.memory, "Show memory", a.Memory, ASKING),
    )


def _controlnet(x: A1111) -> tuple[Route, ...]:
    """The extension's own."""
    return (
        _get("controlnet_version", "/controlnet/version", x.lists.controlnet_version,
             "Show the version", a.ControlNetVersion),
        _get("controlnet_settings", "/controlnet/settings", x.lists.controlnet_settings,
             "Show how many units a request may have", a.ControlNetSettings),
        _get("controlnet_model_list", "/controlnet/model_list", x.lists.controlnet_models,
             "List ControlNets", a.ControlNetModels),
        _get("controlnet_module_list", "/controlnet/module_list", x.lists.controlnet_modules,
             "List detectors", a.ControlNetModules),
        _get("controlnet_control_types", "/controlnet/control_types", x.lists.controlnet_types,
             "List detectors and ControlNets by type", a.ControlNetTypes),
        _post("controlnet_detect", "/controlnet/detect", x.tools.detect,
              "Draw a control map", (r.DetectInput, a.DetectedMaps), _JOBS),
    )
# fmt: on

Run = Callable[[falcon.Request, falcon.Response], None]
Bodies = tuple[type[msgspec.Struct] | None, Content]
"""Of a request and of its response."""


def _get(
    name: str,
    path: str,
    run: Run,
    summary: str,
    content: Content,
    errors: tuple[type[e.SpoonError], ...] = (),
) -> Route:
    return Route(name, "GET", path, run, summary, {200: content}, errors=errors, is_lenient=True)


def _post(
    name: str, path: str, run: Run, summary: str, bodies: Bodies, errors: tuple[type[e.SpoonError], ...] = ()
) -> Route:
    body, content = bodies
    return Route(name, "POST", path, run, summary, {200: content}, body, None, errors, is_lenient=True)
