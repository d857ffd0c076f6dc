"""A database whose specs have the names of before ADR 0046 is what it was, under the new ones."""

import json
from pathlib import Path

import apsw
import pytest

from kernel.protocol.enums import ControlType, ImageFileType, ImageFit, InputKind, PromptTechnique, Scheduler
from kernel.protocol.ids import JobId, ModelId
from kernel.protocol.model_refs import OWN_VAE, Control, LoraUse
from kernel.protocol.specs import JobSpec
from kernel.shell.state_reader import StateReader
from kernel.shell.store import Store, migrations
from tests.integration.kernel.saving import snapshot

BEFORE = 8
ENGINE = {
    "name": "north", "checkpoint": "m1", "vae": None, "loras": [], "embeddings": [], "control_models": ["c1"],
    "long_prompt_technique": "sd_embed", "control_net": "canny", "clip_skip": 2, "scheduler": "euler_a",
    "scheduler_config": {"use_karras_sigmas": True}, "steps": 30, "guidance_scale": 6.5, "width_px": 640,
    "height_px": None, "device": "cpu", "dtype": None, "autostart": True, "keep_alive_s": 60.0,
    "give_up_after_s": None, "replicas": 2, "max_batch": None,
}  # fmt: skip
PLAIN = {
    "prompt": "a cat", "negative_prompt": "", "loras": [], "embeddings": [], "vae": None,
    "long_prompt_technique": "none", "clip_skip": None, "inputs": [], "image_fit": "crop", "strength": 0.75,
    "controls": [], "control_models": [], "remove_background": [], "background_color": "#ffffff",
    "previews": False, "expire_after_s": None, "delete_after_downloads": None, "give_up_after_s": None,
    "seed": 7, "count": 2, "steps": 20, "guidance_scale": 0.0, "width_px": 512, "height_px": 768,
    "scheduler": "ddim", "scheduler_config": {}, "image_file_type": "png", "quality": 90,
}  # fmt: skip
RICH = PLAIN | {
    "loras": [{"model_id": "l1", "weight": -0.5}], "vae": "v1", "inputs": ["reference", "pose"],
    "image_fit": "pad", "strength": 0.5,
    "controls": [
        {"control_type": "canny", "scale": 0.5, "start": 0.25, "end": 0.75, "is_preprocessed": True},
        {"control_type": "depth", "scale": 1.0, "start": 0.0, "end": 1.0, "is_preprocessed": False},
    ],
    "control_models": ["c1", "c2"], "remove_background": ["b1"], "background_color": "#102030",
    "image_file_type": "jpeg", "expire_after_s": 60.0,
}  # fmt: skip


@pytest.fixture
def state_reader(tmp_path: Path) -> StateReader:
    """Of a database that the version before has left, opened by this one."""
    file = tmp_path / "spoon.sqlite3"
    old = apsw.Connection(str(file))
    for step in range(1, BEFORE + 1):
        old.execute(migrations()[step])
    old.pragma("user_version", BEFORE)
    old.execute(
        "INSERT INTO engine (engine_id, name, spec, status, created_at_ms) "
        "VALUES ('e', 'north', ?, 'closed', 1)",
        (json.dumps(ENGINE),),
    )
    for seq, (job_id, spec) in enumerate({"plain": PLAIN, "rich": RICH}.items()):
        old.execute(
            "INSERT INTO job (seq, job_id, engine_id, status, priority, spec, image_ids, attempts, crashes, "
            "warnings, created_at_ms) VALUES (?, ?, 'e', 'waiting', 0, ?, '[\"i\"]', 0, 0, '[]', 1)",
            (seq + 1, job_id, json.dumps(spec)),
        )
    old.close()
    return StateReader(Store(file).connection)


def spec_of(state_reader: StateReader, job_id: str) -> JobSpec:
    found = state_reader.job_spec(JobId(job_id))
    assert found is not None
    return found


def test_an_engine_keeps_its_values(state_reader: StateReader) -> None:
    (row,) = snapshot(state_reader).engines
    assert (row.spec.guidance_scale, row.spec.width_px, row.spec.height_px) == (6.5, 640, None)
    assert (row.spec.vae, row.spec.steps, row.spec.replicas) == (OWN_VAE, 30, 2)
    assert row.spec.scheduler_config == {"use_karras_sigmas": True}


def test_a_job_keeps_its_values_and_loses_those_that_said_nothing(state_reader: StateReader) -> None:
    assert spec_of(state_reader, "plain") == JobSpec(
        prompt="a cat",
        long_prompt_technique=PromptTechnique.NONE,
        seed=7,
        count=2,
        steps=20,
        guidance_scale=0.0,
        width_px=512,
        height_px=768,
        scheduler=Scheduler.DDIM,
    )


def test_a_job_with_everything_keeps_it(state_reader: StateReader) -> None:
    found = spec_of(state_reader, "rich")
    assert found.controls == (
        Control(
            control_type=ControlType.CANNY,
            control_model=ModelId("c1"),
            scale=0.5,
            start=0.25,
            end=0.75,
            is_preprocessed=True,
        ),
        Control(control_type=ControlType.DEPTH, control_model=ModelId("c2")),
    )
    assert found.inputs == (InputKind.REFERENCE, InputKind.POSE)
    assert (found.strength, found.image_fit, found.background_color) == (0.5, ImageFit.PAD, "#102030")
    assert (found.vae, found.remove_background) == ("v1", ("b1",))
    assert found.loras == (LoraUse(model_id=ModelId("l1"), weight=-0.5),)
    assert (found.image_file_type, found.expire_after_s) == (ImageFileType.JPEG, 60.0)
