"""Owners see only their own records, administrators see all, others see none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from common.jobs import Status, new_id
from common.ledger import ANONYMOUS, Components, Ledger, Principal
from common.problems import Problem
from common.settings import Settings
from tests.support.claims import commit
from tests.unit.common.ledger.jobs import CAPTION, IMAGE, MODEL, TIMINGS, create_job, must_claim

ALICE, BOB = Principal("alice", sees_all=False), Principal("bob", sees_all=False)
ADMIN = Principal("root", sees_all=True)


@pytest.fixture
def alice(ledger: Ledger) -> Ledger:
    return ledger.for_principal(ALICE)


@pytest.fixture
def bob(ledger: Ledger) -> Ledger:
    return ledger.for_principal(BOB)


def problem_of(call: Callable[[], object]) -> str:
    with pytest.raises(Problem) as raised:
        call()
    return f"{raised.value.kind.slug}: {raised.value.detail}"


@pytest.mark.parametrize("method", ["get", "cancel", "retry", "delete"])
def test_another_owner_s_job_looks_like_an_unknown_job(alice: Ledger, bob: Ledger, method: str) -> None:
    job = create_job(alice)

    other_owner = problem_of(lambda: getattr(bob, method)(job.id))
    unknown = problem_of(lambda: getattr(bob, method)(new_id()))

    assert other_owner == unknown and other_owner.startswith("job-not-found")
    assert alice.get(job.id).status is Status.QUEUED


def test_another_owner_s_deleted_job_looks_like_an_unknown_job(alice: Ledger, bob: Ledger) -> None:
    job = create_job(alice)
    alice.delete(job.id)

    assert problem_of(lambda: alice.get(job.id)).startswith("job-gone")
    assert problem_of(lambda: bob.get(job.id)).startswith("job-not-found")


def test_a_job_without_owner_is_visible_to_administrators_only(ledger: Ledger, alice: Ledger) -> None:
    job = create_job(ledger)

    assert ledger.for_principal(ADMIN).get(job.id).id == job.id
    assert problem_of(lambda: alice.get(job.id)).startswith("job-not-found")


def test_a_client_without_key_sees_no_job(ledger: Ledger, alice: Ledger) -> None:
    jobs = [create_job(ledger), create_job(alice)]
    anonymous = ledger.for_principal(ANONYMOUS)

    assert anonymous.recent() == ([], None)
    assert anonymous.recent(status=Status.QUEUED) == ([], None)
    assert anonymous.read(job.id for job in jobs) == []
    assert problem_of(lambda: anonymous.get(jobs[0].id)) == problem_of(lambda: anonymous.get(new_id()))


def test_an_administrator_sees_and_changes_every_job(ledger: Ledger, alice: Ledger) -> None:
    job = create_job(alice)
    admin = ledger.for_principal(ADMIN)

    assert [job_seen.id for job_seen in admin.recent()[0]] == [job.id]
    assert admin.cancel(job.id).status is Status.CANCELED


def test_pages_are_full_despite_jobs_of_other_owners(alice: Ledger, bob: Ledger) -> None:
    own = []
    for _ in range(5):
        own.append(create_job(alice).id)
        create_job(bob)

    first, cursor = alice.recent(limit=3)
    second, end = alice.recent(limit=3, cursor=cursor)

    assert [job.id for job in first + second] == own[::-1]
    assert (len(first), end) == (3, None)


def test_an_owner_s_lists_by_status_follow_the_job(ledger: Ledger, alice: Ledger, bob: Ledger) -> None:
    job = create_job(alice)
    create_job(bob)

    def listed(status: Status) -> list[str]:
        return [listed_job.id for listed_job in alice.recent(status=status)[0]]

    assert listed(Status.QUEUED) == [job.id]
    claim = must_claim(ledger, job)
    assert (listed(Status.QUEUED), listed(Status.PROCESSING)) == ([], [job.id])
    assert commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)
    assert (listed(Status.PROCESSING), listed(Status.SUCCEEDED)) == ([], [job.id])


def test_a_deleted_job_leaves_its_owner_s_lists(ledger: Ledger, alice: Ledger, redis: Redis) -> None:
    job = create_job(alice)

    ledger.delete(job.id)

    assert [key for key in redis.keys("*@alice")] == []


def test_a_caption_is_cached_for_its_owner_only(ledger: Ledger, alice: Ledger, bob: Ledger) -> None:
    claim = must_claim(ledger, create_job(alice))
    commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

    assert alice.cached_caption(IMAGE.sha256, MODEL.version) == CAPTION
    assert bob.cached_caption(IMAGE.sha256, MODEL.version) is None
    assert ledger.cached_caption(IMAGE.sha256, MODEL.version) is None


def test_two_owners_may_use_the_same_idempotency_key(alice: Ledger, bob: Ledger) -> None:
    first = create_job(alice, idempotency_key="monday")
    other = create_job(bob, idempotency_key="monday")

    assert first.id != other.id
    assert create_job(alice, idempotency_key="monday").id == first.id
    assert create_job(bob, idempotency_key="monday").id == other.id


def test_another_owner_s_batch_looks_like_an_unknown_batch(
    components: Components, ledger: Ledger, alice: Ledger
) -> None:
    batches = components.batches
    own, other = batches.for_principal(ALICE), batches.for_principal(BOB)
    batch_id = new_id()
    own.create(batch_id)
    job = create_job(alice, batch=batch_id)

    assert problem_of(lambda: other.get(batch_id)) == problem_of(lambda: other.get(new_id()))
    assert problem_of(lambda: other.cancel(batch_id)) == problem_of(lambda: other.cancel(new_id()))
    assert list(other.jobs(batch_id)) == []
    assert own.get(batch_id).request_counts.total == 1
    assert next(own.jobs(batch_id)).id == job.id


def test_malformed_batch_ids_are_not_found(redis: Redis, settings: Settings, ledger: Ledger) -> None:
    batches = Components(redis, settings).batches
    batch_id = new_id()
    batches.create(batch_id)
    create_job(ledger, batch=batch_id)

    for malformed in (f"{batch_id}:jobs", "", "*", f"{batch_id}\n"):
        with pytest.raises(Problem, match="No batch has this id"):
            batches.get(malformed)
