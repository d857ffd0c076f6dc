"""A job with everything that a job can have, as the database holds it."""

from msgspec.structs import replace

from kernel.protocol.enums import (
    ControlType,
    ImageFileType,
    ImageFit,
    InputKind,
    PromptTechnique,
)
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Control, LoraUse
from tests.unit.views.database import SPEC

RICH_SPEC = replace(
    SPEC,
    loras=(LoraUse(model_id=ModelId("l1"), weight=0.5),),
    embeddings=(ModelId("t1"),),
    vae=ModelId("v1"),
    long_prompt_technique=PromptTechnique.SD_EMBED,
    clip_skip=1,
    inputs=(InputKind.REFERENCE, InputKind.MASK, InputKind.POSE),
    image_fit=ImageFit.PAD,
    strength=0.5,
    controls=(
        Control(control_type=ControlType.OPENPOSE, control_model=ModelId("c1"), scale=0.75, end=0.5),
        Control(control_type=ControlType.CANNY, control_model=ModelId("c2"), is_preprocessed=True),
    ),
    remove_background=(ModelId("b1"),),
    background_color="#00ff00",
    previews=True,
    expire_after_s=60.0,
    delete_after_downloads=2,
    image_file_type=ImageFileType.JPEG,
)
