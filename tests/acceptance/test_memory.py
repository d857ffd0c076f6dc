"""Engines that do not fit are refused with numbers; with room they start. A low disk takes nothing new."""

import httpx

from tests.acceptance.orders import PLAIN
from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.server import Server


def create(server: Server, name: str) -> httpx.Response:
    body = {"checkpoint": server.records.model_named(PLAIN), "name": name}
    return httpx.post(f"http://127.0.0.1:{server.port}/v1/engines", json=body, timeout=PATIENCE_S)


def test_an_engine_is_refused_with_numbers_where_its_memory_is_kept_for_others_and_starts_elsewhere(
    server_with_api: Server,
) -> None:
    server = server_with_api
    server.configure(engines='keep_free = "1000TB"')
    server.start()
    refused = create(server, "large")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_enough_memory")
    memory = refused.json()["memory"]
    assert memory["device"] == "cpu"
    assert memory["needed_bytes"] > memory["free_bytes"] == 0
    assert memory["total_bytes"] > 0
    assert server.stop() == 0

    server.configure()
    server.start()
    created = create(server, "small")
    assert created.status_code == 201, created.text
    assert created.json()["waiting_for_room"] is False
    shown = f"http://127.0.0.1:{server.port}/v1/engines/{created.json()['engine_id']}"

    def is_ready() -> bool:
        return bool(httpx.get(shown, timeout=PATIENCE_S).json()["status"] == "ready")

    wait_for("the engine to be ready", is_ready)
    assert "action=memory_compared" in (server.folder / "log").read_text()


def test_a_disk_that_is_low_refuses_jobs_and_models_and_nothing_else(server_with_api: Server) -> None:
    server = server_with_api
    text = server.config_file.read_text()
    server.config_file.write_text(text.replace("min_free = 0", 'min_free = "1000TB"'))
    server.start()
    engine = create(server, "one").json()["engine_id"]
    address = f"http://127.0.0.1:{server.port}/v1"
    job = httpx.post(f"{address}/jobs", json={"engine_id": engine, "prompt": "a"}, timeout=PATIENCE_S)
    assert (job.status_code, job.json()["code"]) == (507, "disk_full")
    model = {"name": "fur", "path": "https://example.org/fur.safetensors", "model_type": "lora"}
    download = httpx.post(f"{address}/models", json=model, timeout=PATIENCE_S)
    assert (download.status_code, download.json()["code"]) == (507, "disk_full")
    local = httpx.post(
        f"{address}/models", json=model | {"path": "file:///fur.safetensors"}, timeout=PATIENCE_S
    )
    assert local.status_code == 202, "what is used where it lies takes no room"
    assert httpx.get(f"{address}/health/ready", timeout=PATIENCE_S).status_code == 503
    assert httpx.get(f"{address}/engines", timeout=PATIENCE_S).status_code == 200
