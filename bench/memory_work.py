"""The peak of a whole engine's process, predicted and measured, in the process that calls `measure`.

Measured is RssAnon: what of the process's memory is resident and belongs to no file. It is sampled while
more pictures are made than fit into one call, so that steps, encodings and decodings fall together.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import Final

from PIL import Image

from bench.bell import Bell, run_until
from bench.memory_cases import Case, demand_of_file
from bench.memory_passes import source_of
from engine_worker.engine.diffusers_engine import build
from engine_worker.port import Completed, Failed, Inputs, Outcome
from kernel.core.memory_model.memory_demand import CPU, need_bytes
from kernel.protocol.enums import ImageFit, InputKind, MemoryPlan, Scheduler
from kernel.protocol.ids import EngineId, ImageId, JobId
from kernel.protocol.specs import EngineLoad, JobOrder, JobSpec, PictureOrder

SAMPLE_S: Final = 0.001
STEPS: Final = (2, 3, 5)
"""Of different lengths, so that some pictures are decoded while others are still being stepped."""


class Watcher:
    """Looks at the process's own memory again and again, on a thread of its own."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._is_over = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Returns: the most that was seen."""
        self._is_over.set()
        self._thread.join()
        return self.peak_bytes

    def _run(self) -> None:
        while not self._is_over.wait(SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, own_bytes())


def own_bytes() -> int:
    """Source: proc_pid_status(5), RssAnon."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's own memory")


def measure(case: Case, path: Path, steps: Sequence[int] = STEPS) -> tuple[int, int]:
    """Predicted and measured bytes of an engine of a checkpoint; `steps` of the pictures, in turns."""
    watcher = Watcher()
    outcomes: list[Outcome] = []
    bell = Bell()
    engine = build(bell.at(outcomes.append), bell.ring)
    engine.load(
        EngineLoad(engine_id=EngineId("e"), checkpoint=source_of(path), device=CPU, max_batch=case.slots)
    )
    wanted = case.slots * len(steps)
    for number in range(wanted):
        engine.admit(*_job(case, number, steps[number % len(steps)]))
    run_until(lambda: len(_ends(outcomes)) == wanted, engine.step, bell)
    engine.close()
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    if failed:
        raise RuntimeError(f"not every picture was made: {failed[:1]}")
    predicted = need_bytes(demand_of_file(case, path), CPU, MemoryPlan.FAST, case.slots)
    return predicted, watcher.stop()


def _ends(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if isinstance(outcome, Completed | Failed)]


def _job(case: Case, number: int, steps: int) -> tuple[JobOrder, Inputs]:
    """Every other one begins with a picture."""
    picture = BytesIO()
    Image.effect_noise((case.size_px, case.size_px), 50).convert("RGB").save(picture, "PNG")
    inputs = {InputKind.REFERENCE: picture.getvalue()} if number % 2 else {}
    spec = JobSpec(
        prompt="a cat",
        negative_prompt="a dog",
        inputs=tuple(inputs),
        strength=0.9,
        image_fit=ImageFit.CROP,
        seed=number,
        count=1,
        steps=steps,
        guidance_scale=7.0,
        width_px=case.size_px,
        height_px=case.size_px,
        scheduler=Scheduler.DPMPP_2M_KARRAS,
    )
    wanted = PictureOrder(index=0, image_id=ImageId(f"i{number}"), seed=number)
    return JobOrder(job_id=JobId(f"j{number}"), spec=spec, pictures=(wanted,)), inputs
