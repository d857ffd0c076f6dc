"""Pausing a queue of real processes: over a restart, and with a job that is moved to the front."""

from kernel.protocol.client import Done, EditJob, PauseQueue, ResumeQueue
from kernel.protocol.enums import JobState
from kernel.protocol.ids import ModelId
from tests.acceptance.checks import assert_whole
from tests.acceptance.orders import create_engine, submit
from tests.acceptance.server import Server


def test_a_pause_outlives_the_manager_and_the_job_with_the_higher_priority_goes_first(
    server: Server, plain: ModelId
) -> None:
    server.start()
    engine = create_engine(server.line, plain, max_batch=1)
    server.line.ask(PauseQueue(), Done)
    jobs = [submit(server.line, engine) for _ in range(3)]
    server.kill()

    server.start()
    assert server.records.engine(engine).jobs_paused_since_ms is not None
    assert {server.records.job(one.job_id).status for one in jobs} == {JobState.WAITING}
    server.line.ask(EditJob(job_id=jobs[2].job_id, priority=7), Done)
    server.line.ask(ResumeQueue(), Done)

    ended = [server.records.wait_for_job(one.job_id, JobState.FINISHED) for one in jobs]
    assert [job.priority for job in ended] == [0, 0, 7]
    assert min(ended, key=lambda job: job.finished_at_ms or 0).job_id == jobs[2].job_id
    assert_whole(server)
