"""What is left of a queue when every process of its server is killed?"""

import time
from pathlib import Path
from typing import Final

from bench.product.gate import check_picture
from bench.product.job import Job, numbered
from bench.product.measure import SMALLEST_PX, Figures
from bench.product.servers import JobLost, Queue, QueueKind, await_picture, end, kill_all

KILLED: Final = "killed"
JOBS: Final = 11
STEPS: Final = 2
AFTER_S: Final = 1.0
"""From the last answer to the kill: the first job is being worked on then."""


def killed(kind: QueueKind, folder: Path) -> Figures:
    """How many of the jobs that a server had taken have no picture in the end."""
    server = kind.start(folder)
    jobs = [numbered(number, SMALLEST_PX, STEPS) for number in range(JOBS + 1)]
    server.make(jobs.pop())
    taken = {server.submit(job): job for job in jobs}
    time.sleep(AFTER_S)
    kill_all(server)
    again = kind.start(folder)
    try:
        lost = sum(is_lost(again, job_id, job) for job_id, job in taken.items())
    finally:
        end(again)
    return {"killed_jobs": JOBS, "killed_lost": lost}


def is_lost(server: Queue, job_id: str, job: Job) -> bool:
    """Wait for a picture. Raises: SystemExit, if it is not the right one."""
    try:
        picture = await_picture(server, job_id)
    except JobLost:
        return True
    check_picture(picture, job)
    return False
