"""A real fetch worker process, and the ways to start any worker wrongly."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec.structs import replace

from engine_worker.main import FETCH_NICENESS
from engine_worker.session.actions import ExitCode
from kernel.protocol.enums import ModelBase, ModelType, WorkerRole
from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.worker import (
    Drain,
    FileScanned,
    Goodbye,
    Hello,
    InspectModel,
    ModelFailed,
    ModelInspected,
    ModelProgress,
    Ping,
    ScanBegun,
    ScanEnded,
    ScanFolders,
    ScanProgress,
)
from tests.integration.worker.small_manager import SmallManager
from tests.unit.worker.model_files import SMALL_SD, lora, write_safetensors


def inspect(manager: SmallManager, path: Path, model_id: str) -> None:
    source = ModelSource(
        model_id=ModelId(model_id), name="a model", uri=f"file://{path}", model_type=ModelType.CHECKPOINT
    )
    manager.order(InspectModel(source=source))


def run_worker(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "engine_worker.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


def test_a_fetch_worker_inspects_models_and_leaves_when_it_is_drained(
    manager: SmallManager, tmp_path: Path
) -> None:
    model = write_safetensors(tmp_path / "models/a.safetensors", SMALL_SD)
    join = manager.ticket(WorkerRole.FETCH, roots=(tmp_path / "models",))
    process = manager.start(join, tmp_path / "log")
    assert manager.welcome().role is WorkerRole.FETCH
    inspect(manager, model, "sound")
    assert manager.expect(ModelProgress).bytes == model.stat().st_size
    assert manager.expect(ModelInspected).fingerprint.model_base is ModelBase.SD
    inspect(manager, tmp_path / "absent.safetensors", "absent")
    failed = manager.expect(ModelFailed)
    assert (failed.model_id, failed.code) == ("absent", "model_unreadable")
    manager.order(Drain())
    manager.expect(Goodbye)
    assert manager.exit_code(process) == ExitCode.LEFT


def test_a_fetch_worker_scans_folders_and_reads_known_files_no_more(
    manager: SmallManager, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    write_safetensors(folder / "Stable-diffusion/a.safetensors", SMALL_SD)
    write_safetensors(
        folder / "Lora/sdxl/b.safetensors", lora("lora_unet_down_blocks_1_attentions_0_proj_in", 64)
    )
    (folder / "Lora/c.ckpt").write_bytes(b"PK\x03\x04")
    process = manager.start(manager.ticket(WorkerRole.FETCH, roots=(folder,)), tmp_path / "log")
    manager.welcome()
    order = ScanFolders(folders=(str(folder), "/absent"), known=(5,))
    manager.order(order)
    manager.expect(ScanEnded)
    told = [one.body for one in manager.heard if not isinstance(one.body, Hello | Ping)]
    assert told[0] == ScanBegun(files=3, unknown=3, gone=(5,), absent=("/absent",))
    assert [type(report) for report in told[1:]] == [*[ScanProgress, FileScanned] * 3, ScanEnded]
    found = {Path(report.path).name: report for report in told if isinstance(report, FileScanned)}
    assert found["a.safetensors"].fingerprint is not None
    assert found["a.safetensors"].fingerprint.model_type is ModelType.CHECKPOINT
    assert found["b.safetensors"].fingerprint is not None
    assert found["b.safetensors"].fingerprint.model_base is ModelBase.SDXL
    assert found["c.ckpt"].code == "model_unreadable"
    manager.order(replace(order, known=tuple(one.stamp for one in found.values())))
    assert manager.expect(ScanBegun) == ScanBegun(files=3, unknown=0, absent=("/absent",))
    manager.expect(ScanEnded)
    manager.order(Drain())
    manager.expect(Goodbye)
    assert manager.exit_code(process) == ExitCode.LEFT


def test_a_scan_makes_way_for_an_inspection_and_for_the_end(manager: SmallManager, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    for number in range(300):
        write_safetensors(folder / f"{number:03}.safetensors", SMALL_SD)
    process = manager.start(manager.ticket(WorkerRole.FETCH, roots=(folder,)), tmp_path / "log")
    manager.welcome()
    manager.order(ScanFolders(folders=(str(folder),)))
    manager.expect(FileScanned)
    inspect(manager, folder / "299.safetensors", "asked for")
    assert manager.expect(ModelInspected).model_id == "asked for"
    manager.order(ScanFolders(folders=(str(folder),)))
    manager.expect(ScanBegun)
    manager.order(Drain())
    assert manager.exit_code(process) == ExitCode.LEFT
    assert sum(isinstance(one.body, FileScanned) for one in manager.heard) < 600
    assert not [one for one in manager.heard if isinstance(one.body, ScanEnded)]


def test_a_fetch_worker_gives_way_but_not_its_heartbeat(manager: SmallManager, tmp_path: Path) -> None:
    process = manager.start(manager.ticket(WorkerRole.FETCH), tmp_path / "log")
    manager.welcome()
    manager.expect(Ping)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    threads = [int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()]
    found = {thread: os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}
    assert found.pop(process.pid) == min(own + FETCH_NICENESS, 19)
    assert set(found.values()) == {own}


def test_a_wrong_command_line_or_ticket_is_refused(manager: SmallManager, tmp_path: Path) -> None:
    assert run_worker().returncode == ExitCode.BAD_TICKET
    assert run_worker("--join-fd", "1000000").returncode == ExitCode.BAD_TICKET
    broken = msgspec.structs.replace(manager.ticket(), endpoint="nonsense")
    process = manager.start(broken, tmp_path / "log")
    assert manager.exit_code(process) == ExitCode.BAD_TICKET
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_no_secret_is_in_the_command_line_or_the_environment(manager: SmallManager, tmp_path: Path) -> None:
    join = manager.ticket()
    process = manager.start(join, tmp_path / "log")
    manager.expect(Hello)
    for name in ("cmdline", "environ"):
        content = Path(f"/proc/{process.pid}/{name}").read_bytes()
        assert join.secret_key.encode() not in content
        assert join.token.encode() not in content
    assert join.secret_key not in (tmp_path / "log").read_text()


def test_the_tickets_pipe_is_closed_once_it_is_read(manager: SmallManager, tmp_path: Path) -> None:
    process = manager.start(manager.ticket(), tmp_path / "log")
    manager.expect(Hello)
    opened = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
    assert sum(target.startswith("pipe:") for target in opened) == 2, "the two ends of the signals' pipe"


def test_a_worker_says_hello_before_it_loads_what_is_large(manager: SmallManager, tmp_path: Path) -> None:
    process = manager.start(manager.ticket(), tmp_path / "log")
    manager.expect(Hello)
    mapped = Path(f"/proc/{process.pid}/maps").read_text()
    assert "/zmq/" in mapped, "the list of mapped files shows native modules"
    assert not [name for name in ("torch", "numpy", "onnxruntime") if f"/{name}/" in mapped]
