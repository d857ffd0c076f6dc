"""Names of fields in other Stable Diffusion tools, mapped to ours."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

_FOLD: Final = str.maketrans("", "", " _-")

# By our name: the others', folded as `_folded` does.
_OTHERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "prompt": ("positiveprompt", "positive", "text"),
        "negative_prompt": ("negative", "negprompt", "uc"),
        "cfg": ("cfgscale", "guidancescale", "guidance", "scale"),
        "guidance_rescale": ("cfgrescale", "rescalecfg", "rescale", "cfgrescalemultiplier"),
        "eta": ("etanoise", "ddimeta", "schurneta"),
        "scheduler": ("sampler", "samplername", "samplerindex", "samplingmethod", "schedulername"),
        "steps": ("numinferencesteps", "inferencesteps", "samplingsteps", "numsteps"),
        "count": ("niter", "batchsize", "numimages", "numimagesperprompt", "numoutputs", "samples", "n"),
        "seed": ("noiseseed", "randomseed", "generatorseed"),
        "strength": ("denoisingstrength", "denoise", "denoising", "imagestrength", "promptstrength"),
        "reference_image_blob": (
            "initimages", "initimage", "image", "img", "inputimage", "referenceimage", "sourceimage",
        ),
        "mask_mode": ("inpaintingmaskinvert", "maskinvert", "invertmask", "maskchannel"),
        "mask_blur": ("maskblurx", "maskblury", "maskfeather", "feather"),
        "inpaint_area": ("inpaintfullres", "onlymasked", "inpaintonlymasked"),
        "inpaint_padding": ("inpaintfullrespadding", "maskedareapadding", "onlymaskedpadding", "maskpadding"),
        "inpaint_fill": ("inpaintingfill", "maskedcontent"),
        "mask_image_blob": ("mask", "maskimage", "inpaintmask"),
        "pose_image_blob": ("pose", "poseimage", "controlimage", "controlnetimage", "controlimageblob"),
        "type_pose": ("posetype", "controltype", "controlnettype", "preprocessor", "module"),
        "control_scale": ("controlnetconditioningscale", "conditioningscale", "controlweight"),
        "control_start": ("controlguidancestart", "guidancestart"),
        "control_end": ("controlguidanceend", "guidanceend"),
        "control_net": ("controlnet",),
        "clip_skip": ("clipskip", "skipclip", "clipstopatlastlayers", "stopatcliplayer"),
        "loras": ("lora", "loraweights"),
        "embeddings": ("embedding", "textualinversion", "textualinversions"),
        "vae": ("sdvae", "vaename"),
        "checkpoint": ("model", "modelid", "sdmodelcheckpoint", "ckptname", "ckpt"),
        "engine": ("model", "modelid", "sdmodelcheckpoint", "enginename"),
        "remove_background_models": ("rembg", "removebackground", "backgroundremoval"),
        "image_file_type": ("outputformat", "format", "filetype", "samplesformat"),
        "quality": ("jpegquality", "outputquality"),
        "image_fit": ("resizemode",),
        "previews": ("preview", "livepreviews"),
        "expire_after": ("ttl", "expires", "expiresin"),
        "give_up_after": ("timeout", "queuetimeout", "maxwait", "startdeadline"),
        "width": ("size", "resolution"),
        "callback_url": ("webhook", "webhookurl", "callback"),
    }
)  # fmt: skip


def our_name(field: str, known: Collection[str]) -> str | None:
    """Our name for another tool's field, among the fields of this call; None, if there is none."""
    folded = _folded(field)
    return next((ours for ours, others in _OTHERS.items() if folded in others and ours in known), None)


def _folded(name: str) -> str:
    return name.lower().translate(_FOLD)
