"""Jobs with all that may be laid over a checkpoint or come along."""

from msgspec.structs import replace

from bench.pictures import half_mask, photograph, png
from bench.stock import Asked
from kernel.protocol.enums import ControlType, InputKind, Scheduler
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Control, LoraUse, ModelSource
from tests.gpu.gpu_jobs import job

NET = ModelId("net")
_CONTROL = Control(
    control_type=ControlType.CANNY, control_model=NET, scale=0.8, start=0.0, end=0.7, is_preprocessed=True
)


def rich_jobs(lora: ModelSource) -> list[Asked]:
    """With a LoRA, from a picture, with a mask, and led by a control map."""
    plain = job(scheduler=Scheduler.EULER_A, steps=4).spec
    picture, mask, pose = png(photograph()), png(half_mask()), png(half_mask())
    active = replace(plain, loras=(LoraUse(model_id=lora.model_id, weight=0.7),))
    led = replace(plain, controls=(_CONTROL,))
    return [
        Asked(active, models=(lora,)),
        Asked(plain, {InputKind.REFERENCE: picture}),
        Asked(plain, {InputKind.REFERENCE: picture, InputKind.MASK: mask}),
        Asked(led, {InputKind.POSE: pose}),
    ]
