"""The task and the lanes: bulk jobs leave room for interactive ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from common.jobs import Job, Status, new_id
from common.ledger import Ledger
from common.queue import THREADS_PER_PICTURE
from common.settings import Settings
from tests.unit.worker.fakes import TIMEOUT, FakeCaptioner, Gate, eventually
from worker.batcher import QUEUED_BATCHES
from worker.runtime import WorkerRuntime

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]

BATCH = new_id()


def test_a_worker_at_its_bulk_limit_still_claims_an_interactive_job(
    runtime: WorkerRuntime,
    ledger: Ledger,
    settings: Settings,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    gate = Gate(captioner)
    bulk = [create_job(batch=BATCH) for _ in range(QUEUED_BATCHES * settings.max_batch + 3)]
    threads = [threading.Thread(target=run_task) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.wait_for_call()
    eventually(lambda: len(runtime.claims) == QUEUED_BATCHES * settings.max_batch)
    single = create_job()
    threads.append(threading.Thread(target=run_task))
    threads[-1].start()
    eventually(lambda: ledger.get(single.id).status is Status.PROCESSING)
    waiting = ledger.counts()[Status.QUEUED]
    gate.open()
    for thread in threads:
        thread.join(TIMEOUT)

    assert waiting == 3
    assert {job.status for job in ledger.read([job.id for job in [*bulk, single]])} == {Status.SUCCEEDED}


def test_some_threads_are_reserved_for_interactive_jobs(
    runtime: WorkerRuntime, ledger: Ledger, settings: Settings, create_job: MakeJob
) -> None:
    max_bulk_tasks = THREADS_PER_PICTURE * settings.max_batch
    with ExitStack() as held:
        for _ in range(max_bulk_tasks):
            create_job(batch=BATCH)
            assert held.enter_context(runtime.claim_jobs()).claims
        create_job(batch=BATCH)
        single = create_job()

        assert [claim.id for claim in held.enter_context(runtime.claim_jobs()).claims] == [single.id]
    with runtime.claim_jobs() as claimed:
        assert len(claimed.claims) == 1


def test_a_job_canceled_in_the_batcher_s_queue_costs_no_model_call(
    runtime: WorkerRuntime,
    ledger: Ledger,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    gate = Gate(captioner)
    jobs = [create_job(batch=BATCH)]
    threads = [threading.Thread(target=run_task)]
    threads[0].start()
    gate.wait_for_call()
    jobs.append(create_job(batch=BATCH))
    threads.append(threading.Thread(target=run_task))
    threads[1].start()
    eventually(lambda: len(runtime.claims) == 2)
    ledger.cancel(jobs[1].id)
    runtime.extend()
    gate.open()
    for thread in threads:
        thread.join(TIMEOUT)

    assert captioner.calls == [1]
    assert [job.status.value for job in ledger.read([job.id for job in jobs])] == ["succeeded", "canceled"]
