"""The loop of a pipeline of diffusers, written out, in a process of its own: what a script of one page does.

`python -m bench.product.bare_loop CHECKPOINT CONFIGURATIONS` reads jobs from its input, a line of JSON each,
and answers each with a line: the file of the picture, and what the job took of time, of the processor and of
page faults. It knows nothing of this project but the job.

    echo '{"prompt": "a cat", "seed": 1, "size_px": 64, "steps": 8, "path": "/tmp/a.png"}' |
        python -m bench.product.bare_loop random.safetensors configurations
"""

import json
import resource
import sys
import time
from pathlib import Path

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor

from bench.product.job import CFG, Job


def main() -> None:
    """Load, then make what is asked for until the input ends."""
    diffusers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    checkpoint, configurations = sys.argv[1:]
    pipeline = diffusers.StableDiffusionPipeline.from_single_file(
        checkpoint, config=configurations, dtype=torch.float32, local_files_only=True
    )
    for line in sys.stdin:
        wanted = json.loads(line)
        path = Path(wanted.pop("path"))
        begin_s, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        make(pipeline, Job(**wanted), path)
        after = resource.getrusage(resource.RUSAGE_SELF)
        took = {
            "seconds": time.perf_counter() - begin_s,
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "faults": after.ru_minflt - before.ru_minflt,
            "age_s": age_s(),
        }
        print(json.dumps(took), flush=True)


@torch.inference_mode()
def make(pipeline: diffusers.StableDiffusionPipeline, job: Job, path: Path) -> None:
    """From the words to the file of the picture."""
    latents = sample(pipeline, job)
    decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    (picture,) = pipeline.image_processor.postprocess(decoded, output_type="pil")
    picture.save(path)


def sample(pipeline: diffusers.StableDiffusionPipeline, job: Job) -> Tensor:
    """Latents, by Euler with classifier-free guidance."""
    embeds = torch.cat([encode(pipeline, ""), encode(pipeline, job.prompt)])
    scheduler = diffusers.EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(job.steps)
    generator = torch.Generator().manual_seed(job.seed)
    latents: Tensor = torch.randn(1, 4, job.size_px // 8, job.size_px // 8, generator=generator)
    latents = latents * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        rows = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        (noise,) = pipeline.unet(rows, timestep, encoder_hidden_states=embeds, return_dict=False)
        away, towards = noise.chunk(2)
        latents = scheduler.step(away + CFG * (towards - away), timestep, latents, return_dict=False)[0]
    return latents


def encode(pipeline: diffusers.StableDiffusionPipeline, prompt: str) -> Tensor:
    """The prompt's embeds."""
    tokens = pipeline.tokenizer(
        prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    embeds: Tensor = pipeline.text_encoder(tokens.input_ids)[0]
    return embeds


def age_s() -> float:
    """Seconds since this process was started. Source: proc_pid_stat(5), starttime."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks_per_s = 100  # USER_HZ, the same on every machine that Linux shows itself to
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / ticks_per_s


if __name__ == "__main__":
    main()
