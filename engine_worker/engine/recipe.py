"""The recipe of a picture as one text, in the form that Stable Diffusion tools write and read.

A prompt, a line `Negative prompt: ...`, and a line of `Name: value` pairs.
"""

import json

from kernel.protocol.ingredients import ModelSource
from kernel.protocol.specs import JobSpec
from kernel.protocol.version import VERSION

_HASH_DIGITS = 10


def recipe_text(spec: JobSpec, seed: int, checkpoint: ModelSource, sampler: str) -> str:
    """All that it takes to make the picture again. `sampler` is the scheduler's name in such texts."""
    pairs = {
        "Steps": str(spec.steps),
        "Sampler": sampler,
        "CFG scale": f"{spec.guidance_scale:g}",
        "Seed": str(seed),
        "Size": f"{spec.width_px}x{spec.height_px}",
    }
    if checkpoint.sha256 is not None:
        pairs["Model hash"] = checkpoint.sha256[:_HASH_DIGITS]
    pairs["Model"] = checkpoint.name
    pairs |= {f"Scheduler {name}": str(value) for name, value in sorted(spec.scheduler_config.items())}
    pairs["Version"] = f"automatic-spoon {VERSION}"
    lines = [spec.prompt]
    if spec.negative_prompt:
        lines.append(f"Negative prompt: {spec.negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items()))
    return "\n".join(lines)


def _quoted(value: str) -> str:
    """A value that holds what separates the pairs is written as a JSON string."""
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ',:"\n') else value
