"""What the tests of the real engine share: orders, and ways to run them."""

from dataclasses import dataclass, field
from pathlib import Path

from engine_worker.port import Completed, Dropped, Failed, ImageEncoded, Outcome, Stepped
from kernel.protocol.enums import (
    ImageFileType,
    ImageFit,
    ModelBase,
    ModelType,
    PromptTechnique,
    Scheduler,
    Stage,
)
from kernel.protocol.ids import EngineId, ImageId, JobId, ModelId
from kernel.protocol.model_refs import Control, ModelSource
from kernel.protocol.specs import EngineLoad, JobOrder, JobSpec, PictureOrder, SchedulerConfig

SIZE_PX = 64


def source_of(path: Path, base: ModelBase | None = None) -> ModelSource:
    """The source of a checkpoint at that path."""
    return ModelSource(
        model_id=ModelId("model-1"),
        name=path.stem,
        uri=path.as_uri(),
        model_type=ModelType.CHECKPOINT,
        model_base=base,
    )


def model_source(path: Path, model_type: ModelType, base: ModelBase | None = None) -> ModelSource:
    """The source of a model that is laid over a checkpoint; its name is its id."""
    return ModelSource(
        model_id=ModelId(path.stem), name=path.stem, uri=path.as_uri(), model_type=model_type, model_base=base
    )


def load_order(path: Path, max_batch: int | None = None) -> EngineLoad:
    """The order to load a checkpoint."""
    return EngineLoad(
        engine_id=EngineId("engine-1"), checkpoint=source_of(path), device="cpu", max_batch=max_batch
    )


def spec(
    *,
    prompt: str = "a red ball",
    negative_prompt: str = "",
    seed: int = 1,
    count: int = 1,
    steps: int = 3,
    guidance_scale: float = 5.0,
    width_px: int = SIZE_PX,
    height_px: int = SIZE_PX,
    scheduler: Scheduler = Scheduler.EULER,
    scheduler_config: SchedulerConfig | None = None,
    image_file_type: ImageFileType = ImageFileType.PNG,
    strength: float = 0.75,
    controls: tuple[Control, ...] = (),
    previews: bool = False,
    technique: PromptTechnique = PromptTechnique.NONE,
) -> JobSpec:
    """A small job."""
    return JobSpec(
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        count=count,
        steps=steps,
        guidance_scale=guidance_scale,
        width_px=width_px,
        height_px=height_px,
        scheduler=scheduler,
        scheduler_config=scheduler_config or {},
        image_file_type=image_file_type,
        strength=strength,
        image_fit=ImageFit.CROP,
        controls=controls,
        previews=previews,
        long_prompt_technique=technique,
    )


def order(job_id: str, of: JobSpec) -> JobOrder:
    """The order for a job's pictures, each with a seed of its own."""
    return JobOrder(
        job_id=JobId(job_id),
        spec=of,
        pictures=tuple(
            PictureOrder(index=index, image_id=ImageId(f"{job_id}-{index}"), seed=of.seed + index)
            for index in range(of.count)
        ),
    )


@dataclass
class Outcomes:
    """Takes what an engine emits, and finds it again."""

    all: list[Outcome] = field(default_factory=list)

    def emit(self, outcome: Outcome) -> None:
        self.all.append(outcome)

    def of(self, job_id: str) -> list[Outcome]:
        return [one for one in self.all if getattr(one, "job_id", None) == job_id]

    def names(self, job_id: str) -> list[str]:
        """All but the news of a further stage."""
        return [type(one).__name__ for one in self.of(job_id) if not _is_further_stage(one)]

    def stages(self, job_id: str) -> list[Stage]:
        """The stages that the job came to before its first step and after its last."""
        return [one.stage for one in self.of(job_id) if isinstance(one, Stepped) and _is_further_stage(one)]

    def pictures(self, job_id: str) -> list[ImageEncoded]:
        return [outcome for outcome in self.of(job_id) if isinstance(outcome, ImageEncoded)]

    def steps(self, job_id: str) -> list[tuple[int, int]]:
        steps = [one for one in self.of(job_id) if isinstance(one, Stepped) and not _is_further_stage(one)]
        return [(one.step, one.steps) for one in steps]

    def ending(self, job_id: str) -> Completed | Failed | Dropped | None:
        endings = [one for one in self.of(job_id) if isinstance(one, Completed | Failed | Dropped)]
        assert len(endings) < 2
        return endings[0] if endings else None


def _is_further_stage(outcome: Outcome) -> bool:
    return isinstance(outcome, Stepped) and outcome.stage is not Stage.DENOISING
