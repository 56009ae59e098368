"""Each owner sees what is theirs, an administrator sees everything, and nobody else sees that it is there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from common.jobs import Status, new_id
from common.ledger import NOBODY, Components, Ledger, Principal
from common.problems import Problem
from common.settings import Settings
from tests.unit.common.ledger.jobs import CAPTION, MODEL, PICTURE, TIMINGS, claimed, wait_in

ALICE, BOB = Principal("alice", sees_all=False), Principal("bob", sees_all=False)
ADMIN = Principal("root", sees_all=True)


@pytest.fixture
def alice(ledger: Ledger) -> Ledger:
    return ledger.for_principal(ALICE)


@pytest.fixture
def bob(ledger: Ledger) -> Ledger:
    return ledger.for_principal(BOB)


def refused(ask: Callable[[], object]) -> str:
    with pytest.raises(Problem) as refusal:
        ask()
    return f"{refusal.value.kind.slug}: {refusal.value.detail}"


@pytest.mark.parametrize("method", ["get", "cancel", "delete"])
def test_another_s_job_is_as_one_that_never_was(alice: Ledger, bob: Ledger, method: str) -> None:
    job = wait_in(alice)

    theirs = refused(lambda: getattr(bob, method)(job.id))
    nobody_s = refused(lambda: getattr(bob, method)(new_id()))

    assert theirs == nobody_s and theirs.startswith("job-not-found")
    assert alice.get(job.id).status is Status.QUEUED


def test_another_s_deleted_job_is_not_known_to_have_been(alice: Ledger, bob: Ledger) -> None:
    job = wait_in(alice)
    alice.delete(job.id)

    assert refused(lambda: alice.get(job.id)).startswith("job-gone")
    assert refused(lambda: bob.get(job.id)).startswith("job-not-found")


def test_a_job_without_owner_is_the_administrator_s(ledger: Ledger, alice: Ledger) -> None:
    job = wait_in(ledger)

    assert ledger.for_principal(ADMIN).get(job.id).id == job.id
    assert refused(lambda: alice.get(job.id)).startswith("job-not-found")


def test_a_stranger_sees_nothing_not_even_what_is_nobody_s(ledger: Ledger, alice: Ledger) -> None:
    jobs = [wait_in(ledger), wait_in(alice)]
    stranger = ledger.for_principal(NOBODY)

    assert stranger.recent() == ([], None)
    assert stranger.recent(status=Status.QUEUED) == ([], None)
    assert stranger.read(job.id for job in jobs) == []
    assert refused(lambda: stranger.get(jobs[0].id)) == refused(lambda: stranger.get(new_id()))


def test_an_administrator_sees_and_changes_every_job(ledger: Ledger, alice: Ledger) -> None:
    job = wait_in(alice)
    admin = ledger.for_principal(ADMIN)

    assert [seen.id for seen in admin.recent()[0]] == [job.id]
    assert admin.cancel(job.id).status is Status.CANCELED


def test_pages_are_whole_though_others_jobs_are_between(alice: Ledger, bob: Ledger) -> None:
    own = []
    for _ in range(5):
        own.append(wait_in(alice).id)
        wait_in(bob)

    first, cursor = alice.recent(limit=3)
    second, end = alice.recent(limit=3, cursor=cursor)

    assert [job.id for job in first + second] == own[::-1]
    assert (len(first), end) == (3, None)


def test_an_owner_s_list_by_state_follows_the_job_s_life(ledger: Ledger, alice: Ledger, bob: Ledger) -> None:
    job = wait_in(alice)
    wait_in(bob)

    def listed(status: Status) -> list[str]:
        return [found.id for found in alice.recent(status=status)[0]]

    assert listed(Status.QUEUED) == [job.id]
    claim = claimed(ledger, job)
    assert (listed(Status.QUEUED), listed(Status.PROCESSING)) == ([], [job.id])
    assert ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)
    assert (listed(Status.PROCESSING), listed(Status.SUCCEEDED)) == ([], [job.id])


def test_nothing_of_a_deleted_job_stays_in_its_owner_s_lists(ledger: Ledger, alice: Ledger, redis: Redis) -> None:
    job = wait_in(alice)

    ledger.delete(job.id)

    assert [key for key in redis.keys("*@alice")] == []


def test_a_caption_is_remembered_for_its_owner_only(ledger: Ledger, alice: Ledger, bob: Ledger) -> None:
    claim = claimed(ledger, wait_in(alice))
    ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)

    assert alice.cached(PICTURE.sha256, MODEL.version) == CAPTION
    assert bob.cached(PICTURE.sha256, MODEL.version) is None
    assert ledger.cached(PICTURE.sha256, MODEL.version) is None


def test_two_owners_may_use_the_same_idempotency_key(alice: Ledger, bob: Ledger) -> None:
    first = wait_in(alice, idempotency_key="monday")
    other = wait_in(bob, idempotency_key="monday")

    assert first.id != other.id
    assert wait_in(alice, idempotency_key="monday").id == first.id
    assert wait_in(bob, idempotency_key="monday").id == other.id


def test_another_s_batch_is_as_one_that_never_was(components: Components, ledger: Ledger, alice: Ledger) -> None:
    batches = components.batches
    own, other = batches.for_principal(ALICE), batches.for_principal(BOB)
    batch_id = new_id()
    own.create(batch_id)
    job = wait_in(alice, batch=batch_id)

    assert refused(lambda: other.get(batch_id)) == refused(lambda: other.get(new_id()))
    assert refused(lambda: other.cancel(batch_id)) == refused(lambda: other.cancel(new_id()))
    assert list(other.jobs(batch_id)) == []
    assert own.get(batch_id).request_counts.total == 1
    assert next(own.jobs(batch_id)).id == job.id


def test_a_batch_s_id_leads_to_nothing_but_the_batch(redis: Redis, settings: Settings, ledger: Ledger) -> None:
    batches = Components(redis, settings).batches
    batch_id = new_id()
    batches.create(batch_id)
    wait_in(ledger, batch=batch_id)

    for beside in (f"{batch_id}:jobs", "", "*", f"{batch_id}\n"):
        with pytest.raises(Problem, match="No batch has this id"):
            batches.get(beside)
