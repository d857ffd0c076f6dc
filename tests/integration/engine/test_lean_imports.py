"""What an engine's process imports: no more than it needs, and nothing that makes its pictures others."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine_worker.embedded.random_checkpoint import write_random_checkpoint
from engine_worker.engine.runtime.lean_imports import ABSENT, DEFERRED, NOT_DEFERRED
from kernel.protocol.enums import ModelBase

pytestmark = pytest.mark.torch

HEAVY = ("accelerate", "peft", "scipy.stats", "torch._dynamo", "torch.distributed.tensor", "torchvision")
LEANLY = "from engine_worker.engine.runtime.lean_imports import import_engine; import_engine()"
PICTURE = """
import sys
import torch
from pathlib import Path
from bench.ours import make_alone, resources
from bench.stock import Asked
from engine_worker.engine.loading.load_checkpoint import load_components
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.enums import Scheduler
from kernel.protocol.specs import JobSpec
source = ModelSource(model_id="m", name="m", uri=Path(sys.argv[1]).as_uri(), model_type="checkpoint")
parts = load_components(source, torch.device("cpu"), torch.float32)
spec = JobSpec(
    prompt="(a cat:1.2) in the snow", negative_prompt="blurry", seed=1, count=1, steps=2,
    guidance_scale=7.0, width_px=64, height_px=64, scheduler=Scheduler.DPMPP_2M_KARRAS,
)
print(make_alone(resources(parts, {}), Asked(spec)).numpy().tobytes().hex())
"""


def said(program: str, *arguments: str) -> tuple[str, str]:
    """What a process of its own writes to its output and to its errors."""
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_nothing_that_an_engine_does_without_is_imported_and_nothing_fails() -> None:
    out, errors = said(f"import sys; {LEANLY}; print(*[name for name in {HEAVY} if name in sys.modules])")
    assert out == ""
    assert "lean_import_failed" not in errors


def test_building_a_network_imports_nothing_of_the_compiler() -> None:
    out, _ = said(
        f"""
import sys
{LEANLY}
before = set(sys.modules)
from engine_worker.embedded.random_checkpoint import small_architecture
from engine_worker.engine.loading.networks import build_empty
from engine_worker.formats.ldm_layout import single_file_layout
from kernel.protocol.enums import ModelBase
for base in ModelBase:
    for plan in single_file_layout(small_architecture(base)).networks:
        build_empty(plan)
print(*[name for name in set(sys.modules) - before if name.startswith(("sympy", "torch.fx"))])
"""
    )
    assert out == ""


@pytest.mark.exhaustive
def test_afterwards_everything_can_be_imported_as_if_nothing_had_been_left_out() -> None:
    deferred = [name for name in DEFERRED if name not in NOT_DEFERRED and not name.startswith("torch.dist")]
    out, _ = said(
        f"""
import importlib
{LEANLY}
for name in {[*deferred, *ABSENT]}:
    assert importlib.import_module(name).__file__, name
from diffusers.models.unets import UNet2DModel
from diffusers.models.transformers import Transformer2DModel
from diffusers.models.attention_processor import Attention
from diffusers.utils.torch_utils import maybe_allow_in_graph
assert maybe_allow_in_graph(Attention) is Attention
print("all there")
"""
    )
    assert out == "all there"


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
def test_a_picture_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_random_checkpoint(path, base=ModelBase.SD, seed=7)
    plain, _ = said(PICTURE, str(path))
    lean, _ = said(f"{LEANLY}\n{PICTURE}", str(path))
    assert len(plain) > 1000
    assert lean == plain
