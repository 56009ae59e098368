"""Edited captions: set or removed for all jobs or none, by those who may see the jobs."""

from __future__ import annotations

import pytest
from redis import Redis

from common import problems
from common.jobs import Edit, Job, moment, new_id
from common.ledger import Components, Ledger, Principal
from common.problems import Problem
from tests.support.claims import commit, commit_failure
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, IMAGE, MODEL, TIMINGS, create_job, must_claim

ALICE, BOB = Principal("alice", sees_all=False), Principal("bob", sees_all=False)


def captioned(ledger: Ledger, **kwargs: object) -> Job:
    job = create_job(ledger, **kwargs)
    assert commit(ledger, must_claim(ledger, job), CAPTION, model=MODEL, timings=TIMINGS)
    return ledger.get(job.id)


def test_an_edited_caption_replaces_the_model_s_and_can_be_removed(ledger: Ledger, clock: Clock) -> None:
    job = captioned(ledger)

    (edited,) = ledger.edit({job.id: 'my "dog"\u00e4'})

    assert edited.edited == Edit(caption='my "dog"\u00e4', at=moment(clock()))
    assert (edited.caption, edited.output) == ('my "dog"\u00e4', CAPTION)
    assert ledger.get(job.id).edited == edited.edited
    assert ledger.edit({job.id: None}) == ledger.read([job.id])
    assert ledger.get(job.id) == job


def test_jobs_are_returned_in_the_order_of_the_request(ledger: Ledger) -> None:
    first, second = captioned(ledger), captioned(ledger)

    edited = ledger.edit({second.id: "two", first.id: "one"})

    assert [job.caption for job in edited] == ["two", "one"]


@pytest.mark.parametrize("state", ["queued", "processing", "failed", "canceled"])
def test_no_caption_changes_unless_all_jobs_have_succeeded(ledger: Ledger, state: str) -> None:
    done, other = captioned(ledger), create_job(ledger)
    if state in ("processing", "failed"):
        claim = must_claim(ledger, other)
        if state == "failed":
            commit_failure(ledger, claim, problems.DAMAGED_IMAGE("It is damaged."))
    elif state == "canceled":
        ledger.cancel(other.id)

    with pytest.raises(Problem) as refused:
        ledger.edit({done.id: "my dog", other.id: "my cat"})

    assert refused.value.kind.slug == "not-captioned"
    assert other.id in refused.value.detail
    assert ledger.get(done.id).edited is ledger.get(other.id).edited is None


@pytest.mark.parametrize(("deleted", "slug"), [(False, "job-not-found"), (True, "job-gone")])
def test_a_missing_job_is_named_and_not_created(ledger: Ledger, redis: Redis, deleted: bool, slug: str) -> None:
    done = captioned(ledger)
    missing = captioned(ledger).id if deleted else new_id()
    ledger.delete(missing)

    with pytest.raises(Problem) as refused:
        ledger.edit({done.id: "my dog", missing: "my cat"})

    assert (refused.value.kind.slug, refused.value.detail[:36]) == (slug, missing)
    assert ledger.get(done.id).edited is None
    assert not redis.exists(f"job:{missing}")


def test_jobs_of_other_owners_do_not_exist(ledger: Ledger) -> None:
    job = captioned(ledger.for_principal(ALICE))

    with pytest.raises(Problem) as refused:
        ledger.for_principal(BOB).edit({job.id: "not yours"})

    assert refused.value.kind.slug == "job-not-found"
    assert ledger.get(job.id).edited is None


def test_a_deletion_during_the_edit_changes_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    done, deleted = captioned(ledger), captioned(ledger)
    read = Ledger.read

    def read_then_delete(self: Ledger, ids: object) -> list[Job]:
        jobs = read(self, ids)  # type: ignore[arg-type]
        monkeypatch.undo()
        ledger.delete(deleted.id)
        return jobs

    monkeypatch.setattr(Ledger, "read", read_then_delete)
    with pytest.raises(Problem) as refused:
        ledger.edit({done.id: "my dog", deleted.id: "my cat"})

    assert refused.value.kind.slug == "job-gone"
    assert ledger.get(done.id).edited is None


def test_the_cache_keeps_the_model_s_caption(ledger: Ledger) -> None:
    job = captioned(ledger)

    ledger.edit({job.id: "my dog"})

    assert ledger.cached_caption(IMAGE.sha256, MODEL.version) == CAPTION


def test_every_change_of_an_ended_job_raises_the_version_of_its_batch(ledger: Ledger, components: Components) -> None:
    batches = components.batches
    batches.create("b1")
    versions = [batches.version("b1")]

    first = captioned(ledger, batch="b1")
    versions.append(batches.version("b1"))
    ledger.edit({first.id: "my dog"})
    versions.append(batches.version("b1"))
    create_job(ledger, batch="b1", cached=(MODEL, CAPTION))
    versions.append(batches.version("b1"))
    create_job(ledger, batch="b1")
    batches.cancel("b1")
    versions.append(batches.version("b1"))
    ledger.delete(first.id)
    versions.append(batches.version("b1"))

    assert versions == [0, 1, 2, 3, 4, 5]


def test_a_change_does_not_create_the_record_of_an_expired_batch(ledger: Ledger, redis: Redis) -> None:
    job = captioned(ledger, batch="expired")
    redis.delete("batch:expired")

    ledger.edit({job.id: "my dog"})

    assert not redis.exists("batch:expired")
