"""POST /v1/models/upload"""

from pathlib import Path

import pytest

from api.http.contract.errors import TooLarge
from api.http.framework.form_parts import FormReader, PartBegan, PartData
from api.http.framework.uploads import Receiver, upload_limits
from kernel.protocol.client import ModelAccepted, RegisterModel
from kernel.protocol.enums import ModelState, ModelType
from kernel.protocol.errors import DiskFull, ManagerUnreachable, SpoonError
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import Preparation
from tests.unit.api.stage import Stage, fields_of

BOUNDARY = "a-boundary"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
FILE = b"the model" * 1000


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """A form of (name, file name, content)."""
    body = b""
    for name, file_name, content in parts:
        label = "" if file_name is None else f'; filename="{file_name}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{label}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


GOOD = form(("model_type", None, b"LoRA"), ("file", "my dreams.safetensors", FILE), ("tags", None, b"cats"))


def send(stage: Stage, body: bytes, content_type: str = TYPE, **more: object):  # type: ignore[no-untyped-def]
    headers = {"Content-Type": content_type}
    return stage.post("/v1/models/upload", body=body, headers=headers, **more)


def uploads(stage: Stage) -> list[Path]:
    return list((stage.settings.models.folder / "uploads").iterdir())


def accept(stage: Stage) -> None:
    stage.database.add_model("m1", status="downloading")
    accepted = ModelAccepted(model_id=ModelId("m1"), status=ModelState.DOWNLOADING)
    stage.bus.reactions[RegisterModel] = accepted


def test_a_file_is_put_where_the_fetch_worker_finds_it(stage: Stage) -> None:
    accept(stage)
    result = send(stage, GOOD)
    assert (result.status_code, result.headers["location"]) == (202, "/v1/models/m1")
    (upload,) = uploads(stage)
    assert upload.read_bytes() == FILE
    ask = stage.last_ask
    assert ask == RegisterModel(
        name="my dreams",
        uri=f"upload:{upload.name}/my%20dreams.safetensors",
        model_type=ModelType.LORA,
        tags=("cats",),
    )


@pytest.mark.parametrize(
    ("file_name", "label"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\models\\\\dreams.safetensors", "dreams.safetensors"),
        ("", "model"),
        ("x" * 300 + ".safetensors", "x" * 88 + ".safetensors"),
        ("dreams ❄.safetensors", "dreams ❄.safetensors"),
    ],
)
def test_a_file_name_is_a_label_and_no_path(stage: Stage, file_name: str, label: str) -> None:
    from kernel.protocol.sources import UploadedSource, parse_source

    accept(stage)
    send(stage, form(("file", file_name, FILE), ("name", None, b"dreams"), ("model_type", None, b"vae")))
    assert isinstance(stage.last_ask, RegisterModel)
    (upload,) = uploads(stage)
    assert parse_source(stage.last_ask.uri) == UploadedSource(upload.name, label)


@pytest.mark.parametrize("error", [DiskFull(), SpoonError()])
def test_a_file_that_is_refused_leaves_nothing_behind(stage: Stage, error: SpoonError) -> None:
    stage.bus.reactions[RegisterModel] = error
    assert send(stage, GOOD).status_code >= 400
    assert uploads(stage) == []


def test_a_file_of_which_nobody_knows_whether_it_was_taken_is_kept(stage: Stage) -> None:
    stage.bus.reactions[RegisterModel] = ManagerUnreachable()
    assert send(stage, GOOD).status_code == 503
    assert len(uploads(stage)) == 1


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ((("model_type", None, b"lora"),), "file"),
        ((("file", "a", FILE),), "model_type"),
        ((("file", "a", FILE), ("model_type", None, b"lora"), ("path", None, b"file:///a")), "path"),
        ((("file", "a", FILE), ("model_type", None, b"lora"), ("colour", None, b"red")), "colour"),
        ((("file", "a", FILE), ("model_type", None, b"lora"), ("name", None, b" ")), "name"),
        ((("file", "a", FILE), ("model_type", None, b"lora"), ("model_type", None, b"vae")), "model_type"),
        ((("file", "a", FILE), ("file", "b", FILE), ("model_type", None, b"lora")), "file"),
        ((("file", "a", FILE), ("model_type", None, b"lora"), ("sha256", None, b"5")), "sha256"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_left(
    stage: Stage, parts: tuple[tuple[str, str | None, bytes], ...], field: str
) -> None:
    result = send(stage, form(*parts))
    assert (result.status_code, list(fields_of(result))) == (422, [field])
    assert uploads(stage) == []
    assert stage.bus.asked == []


def test_a_file_beyond_the_limit_is_refused(stage: Stage) -> None:
    result = send(stage, form(("file", "a", bytes(100_001)), ("model_type", None, b"lora")))
    assert (result.status_code, result.json["code"]) == (413, "too_large")
    assert uploads(stage) == []
    assert send(stage, form(("file", "a", bytes(3_000_000)))).status_code == 413


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (GOOD, "application/json"),
        (GOOD, "multipart/form-data"),
        (GOOD, "multipart/form-data; boundary=" + "x" * 71),
        (GOOD, "multipart/form-data; boundary=another"),
        (b"", TYPE),
        (GOOD[:-10], TYPE),
        (b"x" * 20_000, TYPE),
        (form(("file", "a", FILE)).replace(b"form-data", b"something"), TYPE),
        (form(("file", "a", FILE)).replace(b'name="file"', b""), TYPE),
        (f"--{BOUNDARY}x\r\n".encode() + GOOD, TYPE),
        (f"--{BOUNDARY}\r\n".encode() + b"a: b\r\n" * 2000, TYPE),
        (form(*[("tags", None, b"a")] * 300), TYPE),
    ],
)
def test_what_is_no_right_form_is_malformed(stage: Stage, body: bytes, content_type: str) -> None:
    result = send(stage, body, content_type)
    assert (result.status_code, result.json["code"]) == (400, "malformed")
    assert uploads(stage) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 5000])
def test_a_form_is_read_alike_however_it_is_cut(size: int) -> None:
    data = b"\r\n--a-boundar" + bytes(range(256)) + b"\r\n--a-boundary"[:-1] + b"\r\n"
    body = b"preamble\r\n" + form(("file", "f", data), ("name", None, b""), ("tags", None, b"\r\n"))
    reader = FormReader(TYPE)
    found: dict[str, bytes] = {}
    name = ""
    for start in range(0, len(body), size):
        for event in reader.feed(body[start : start + size]):
            if isinstance(event, PartBegan):
                name = event.name
                found[name] = b""
            elif isinstance(event, PartData):
                found[name] += event.data
    reader.finish()
    assert found == {"file": data, "name": b"", "tags": b"\r\n"}


def keyed(stage: Stage, body: bytes = GOOD, key: str = "k1") -> RegisterModel:
    """What is asked for a form under a key."""
    headers = {"Content-Type": TYPE, "Idempotency-Key": key}
    stage.post("/v1/models/upload", body=body, headers=headers)
    ask = stage.last_ask
    assert isinstance(ask, RegisterModel)
    return ask


def test_the_same_form_under_the_same_key_is_the_same_command_and_leaves_one_file(stage: Stage) -> None:
    accept(stage)
    first = keyed(stage)
    assert keyed(stage) == first
    assert len(uploads(stage)) == 1
    stage.database.add_model("m2", uri=first.uri)
    uploads(stage)[0].unlink()  # the fetch worker has taken it over
    assert keyed(stage) == first
    assert uploads(stage) == []
    assert stage.bus.keys[-3:] == ["http:k1"] * 3


def test_another_form_or_another_key_is_another_command(stage: Stage) -> None:
    accept(stage)
    others = [
        keyed(stage, key="k2"),
        keyed(stage, GOOD.replace(b"cats", b"dogs")),
        keyed(stage, GOOD.replace(b"the model", b"a model!!")),
    ]
    assert len({ask.uri for ask in (keyed(stage), *others)}) == 4


def test_a_form_says_how_a_background_remover_wants_its_pictures(stage: Stage) -> None:
    accept(stage)
    said = [("mean", None, text) for text in (b"0.5", b"0.5", b"0.25")] + [("input_size", None, b"320")]
    send(stage, form(("model_type", None, b"background"), *said, ("file", "cutter.onnx", FILE)))
    ask = stage.last_ask
    assert isinstance(ask, RegisterModel)
    assert ask.preparation == Preparation(input_size=(320, 320), mean=(0.5, 0.5, 0.25))


def test_a_file_that_is_announced_as_too_long_is_refused_before_any_of_it_comes(stage: Stage) -> None:
    limits = upload_limits(stage.settings)
    Receiver(limits, TYPE, limits.max_body_bytes).close()
    with pytest.raises(TooLarge, match=r"models\.max_size"):
        Receiver(limits, TYPE, limits.max_body_bytes + 1)
    assert uploads(stage) == []
