"""What a recorded server went through: models, engines, jobs and images in every state that the API can make.

In the calls and values of 0.2.0, since the recorder also runs old checkouts. A call of a later version may be
refused as one that is not there.
"""

from base64 import b64encode
from http.client import METHOD_NOT_ALLOWED
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image

from kernel.protocol.enums import ModelBase
from tests.acceptance.patience import wait_for
from tests.acceptance.releases.client import Client
from tests.integration.engine.onnx_files import write_keeper
from tests.unit.worker.model_files import (
    SMALL_SD,
    VAE_ALONE,
    Shapes,
    checkpoint,
    controlnet,
    lora,
    write_raw,
    write_safetensors,
)

GO: Final = "go"
"""Without a file of this name in the server's working folder, jobs with `[until go]` wait, and two models
cannot be loaded."""
CENTURY_S: Final = 3_000_000_000
_LAYER: Final = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
_UPLOADS: Final[dict[str, tuple[str, Shapes]]] = {
    "plain": ("checkpoint", SMALL_SD),
    "other": ("checkpoint", checkpoint(ModelBase.SD, channels=16)),
    f"fail-load [unless {GO}]": ("checkpoint", SMALL_SD),
    f"oom-load [unless {GO}]": ("checkpoint", SMALL_SD),
    "style": ("lora", lora(_LAYER, 768)),
    "charm": ("embedding", {"emb_params": (2, 768)}),
    "colors": ("vae", VAE_ALONE),
    "net": ("controlnet", controlnet(is_diffusers=False, width=768)),
}
_SMALL: Final[dict[str, Any]] = {"checkpoint": "plain", "steps": 1, "width": 64, "height": 64, "start": False}
_EVERY_ENGINE_VALUE: Final[dict[str, Any]] = {
    "name": "held", "checkpoint": "plain", "vae": "colors", "loras": [{"model_id": "style", "weight": 0.1}],
    "embeddings": ["charm"], "control_models": ["net"], "control_net": "canny", "scheduler": "euler_a",
    "scheduler_config": {"use_karras_sigmas": True}, "long_prompt_technique": "compel", "clip_skip": 2,
    "steps": 3, "cfg": 6.3, "width": 64, "height": 72, "device": "cpu", "dtype": "fp32", "keep_alive_s": 600,
    "give_up_after": "30d", "replicas": 1, "max_batch": 2, "autostart": False, "start": False,
}  # fmt: skip
_EVERY_JOB_VALUE: Final[dict[str, Any]] = {
    "prompt": 'a "fox" \\ in\nthe snow, ein Füchslein, 狐 🦊 [until ]', "negative_prompt": "rain",
    "seed": 2**63 - 3, "count": 2, "steps": 2, "cfg": 0.1, "width": 72, "height": 64, "priority": -5,
    "scheduler": "dpmpp_2m_karras", "scheduler_config": {"algorithm_type": "sde-dpmsolver++"},
    "image_file_type": "jpeg", "quality": 77, "loras": [{"model_id": "style", "weight": -0.3}],
    "embeddings": ["charm"], "vae": "checkpoint", "clip_skip": 1, "background_color": "#102030",
    "remove_background_models": ["cutter"], "previews": True, "expire_after": CENTURY_S,
    "delete_after_downloads": 3, "give_up_after": "1h",
}  # fmt: skip


def _picture(gray: int) -> str:
    """A PNG in base64."""
    stream = BytesIO()
    Image.new("L", (64, 64), gray).save(stream, "png")
    return b64encode(stream.getvalue()).decode()


_MASKED: Final[dict[str, Any]] = {
    "prompt": "[echo] a mask", "reference_image_blob": _picture(9), "mask_image_blob": _picture(255),
    "strength": 0.7, "image_fit": "pad",
}  # fmt: skip
_POSED: Final[dict[str, Any]] = {
    "prompt": "[echo] a pose", "engine": "held", "pose_image_blob": _picture(3), "type_pose": ["canny"],
    "preprocessed": True, "control_scale": 0.7, "control_end": 0.3,
}  # fmt: skip
"""Input images, and values that say something only with them."""


def fill(client: Client, folder: Path) -> None:
    """An installation at rest: nothing runs, and some jobs wait for what nobody does."""
    _add_models(client, folder)
    _add_engines(client)
    _add_ended_jobs(client)
    _end_images(client, folder)
    _edit_an_image(client)
    for body in (_POSED, _MASKED | {"engine": "held"}, _EVERY_JOB_VALUE | {"engine": "held"}):
        client.post("jobs", body)
    for name in ("broken", "hungry"):
        client.post("jobs", {"engine": name, "prompt": "a job of an engine in error", "count": 2})
        wait_for(f"{name} to be in error", lambda name=name: client.engine(name)["error"])


def add_open_jobs(client: Client) -> None:
    """One job is with a worker, and more wait behind it, with all that jobs bring along."""
    body = {"name": "busy", "checkpoint": "other", "steps": 2, "width": 64, "height": 64, "max_batch": 1}
    client.post("engines", body | {"start": True})
    first = client.post("jobs", {"engine": "busy", "prompt": f"[until {GO}] first", "count": 2})
    client.wait_for_job(first["job_id"], "processing")
    for priority in (-3, 3):
        client.post("jobs", {"engine": "busy", "prompt": "later", "priority": priority})
    client.post("jobs", _MASKED | {"engine": "busy"})
    client.post("jobs", _EVERY_JOB_VALUE | {"engine": "busy"})


def _add_models(client: Client, folder: Path) -> None:
    files = folder.parent / "files"
    for name, (model_type, shapes) in _UPLOADS.items():
        file = write_safetensors(files / f"{model_type}.safetensors", shapes, metadata={"title": name})
        form = {"control_type": "canny"} if model_type == "controlnet" else {}
        model = client.upload(file, name, model_type, tags=["uploaded", name], **form)
        assert model["status"] == "ready", model
    assert client.upload(write_keeper(files / "b.onnx", 2), "cutter", "background")["status"] == "ready"
    broken = write_raw(files / "broken.safetensors", b"{no header}")
    assert client.upload(broken, "unreadable", "lora")["error"]["code"] == "model_unreadable"
    in_place = write_safetensors(files / "in-place.safetensors", lora(_LAYER, 768))
    body = {"name": "in place", "path": in_place.as_uri(), "model_type": "lora", "trigger_words": ["ink"]}
    model_id = client.post("models", body)["model_id"]
    wait_for("a model that is used in place", lambda: client.get(f"models/{model_id}")["status"] == "ready")


def _add_engines(client: Client) -> None:
    client.post("engines", _EVERY_ENGINE_VALUE)
    client.post("engines", _SMALL | {"name": "small"})
    client.post("engines", _SMALL | {"name": "broken", "checkpoint": f"fail-load [unless {GO}]"})
    client.post("engines", _SMALL | {"name": "hungry", "checkpoint": f"oom-load [unless {GO}]"})
    client.post("engines", {"checkpoint": "other", "start": False})


def _add_ended_jobs(client: Client) -> None:
    """In every state that ends a job."""
    for body, state in (
        (_EVERY_JOB_VALUE, "finished"),
        (_MASKED, "finished"),
        ({"prompt": "[warn] ten", "count": 10, "steps": 1}, "finished"),
        ({"prompt": "[fail]"}, "failed"),
    ):
        job_id = client.post("jobs", body | {"engine": "small"})["job_id"]
        assert client.wait_for_job(job_id)["status"] == state
    cancelled = client.post("jobs", {"engine": "held", "prompt": "never mind"})["job_id"]
    client.post(f"jobs/{cancelled}/cancel", {})


def _end_images(client: Client, folder: Path) -> None:
    """Counted, and gone for every reason that a person can bring about."""
    jobs = {
        reason: client.post("jobs", {"engine": "small", "prompt": reason} | values)
        for reason, values in {
            "expired": {"expire_after": 1},
            "used_up": {"delete_after_downloads": 1},
            "deleted": {},
            "lost": {},
            "counted": {"delete_after_downloads": 2},
        }.items()
    }
    image_of = {reason: job["image_ids"][0] for reason, job in jobs.items()}
    for job in jobs.values():
        assert client.wait_for_job(job["job_id"])["status"] == "finished"
    for reason in ("used_up", "counted"):
        assert client.http.get(f"images/{image_of[reason]}/download").is_success
    assert client.http.delete(f"images/{image_of['deleted']}").is_success
    (folder / "images" / f"{image_of['lost']}.png").unlink()
    assert client.http.post("images/prune", json={"missing": True}).json()["missing"] == 1
    for reason in ("expired", "used_up", "deleted", "lost"):
        file = folder / "images" / f"{image_of[reason]}.png"
        wait_for(f"the file to be {reason}", lambda file=file: not file.exists())
        gone = client.get(f"images/{image_of[reason]}")["gone"]
        assert gone["reason"] == reason, gone


def _edit_an_image(client: Client) -> None:
    """After 0.2.0."""
    image_id = client.get("images?gone=false")["items"][0]["image_id"]
    said = {"tags": ["snow", "Füchslein"], "favorite": True, "note": "for the wall"}
    answer = client.http.patch(f"images/{image_id}", json=said)
    assert answer.is_success or answer.status_code == METHOD_NOT_ALLOWED, answer.text
