"""With `CAPTIOND_REDIS_REPLICAS`, a job is accepted only when a real replica of Redis has it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from common.jobs import new_id
from common.ledger import Components, NewBatch, NewJob, connect
from common.ledger.base import NotReplicated
from common.settings import Settings
from tests.support.images import IMAGE
from tests.support.replication import RedisNode, ReplicatedRedis


@pytest.fixture
def components(replicated: ReplicatedRedis) -> Components:
    settings = Settings(redis_url=f"redis://127.0.0.1:{replicated.nodes[0].port}/0", redis_replicas=1)
    return Components(connect(settings.redis_location), settings)


@pytest.fixture
def replica(replicated: ReplicatedRedis) -> RedisNode:
    return replicated.nodes[1]


@pytest.fixture
def pause(replica: RedisNode) -> Iterator[Callable[[], None]]:
    """Stops the replica until the end of the test."""
    assert replica.process is not None
    yield lambda: replica.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    replica.process.send_signal(signal.SIGCONT)


def test_the_replica_has_an_accepted_job_and_batch(components: Components, replica: RedisNode) -> None:
    batch = new_id()
    components.batches.create(batch, NewBatch())
    job = components.ledger.create(new_id(), NewJob(input=IMAGE, batch=batch))
    components.batches.seal(batch)

    with replica.client() as client:
        assert client.exists(f"job:{job.id}", f"batch:{batch}") == 2
        assert client.hget(f"batch:{batch}", "sealed") == "1"


def test_a_job_without_a_replica_is_refused_and_accepted_when_it_is_sent_again(
    components: Components, replica: RedisNode, pause: Callable[[], None]
) -> None:
    key = NewJob(input=IMAGE, idempotency_key="again")
    pause()
    with pytest.raises(NotReplicated, match="0 of 1 replicas"):
        components.ledger.create(new_id(), key)
    with pytest.raises(NotReplicated):
        components.ledger.find_idempotent("again", "d0")

    assert replica.process is not None
    replica.process.send_signal(signal.SIGCONT)
    found = components.ledger.find_idempotent("again", "d0")
    assert found is not None
    assert components.ledger.create(new_id(), key).id == found.id


def test_a_job_that_a_new_primary_lacks_is_refused(components: Components) -> None:
    with pytest.raises(NotReplicated):
        components.ledger._await_replicas("job:lost")
