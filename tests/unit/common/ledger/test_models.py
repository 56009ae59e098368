"""Jobs and chunks that ask for a model: which workers claim them, in which order, and what is said about them."""

from __future__ import annotations

import itertools

import fakeredis
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis import Redis

from common.jobs import ModelInfo, Progress
from common.ledger import Components, Ledger, NewBatch, NewManifest, Principal, Worker
from common.ledger.leases import BULK_SHARE
from common.ledger.metrics import Lane
from common.ledger.workers import outage
from common.options import CaptionOptions
from common.settings import Settings
from common.translation import Message
from tests.support.claims import commit
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, create_job, recover

BATCH = "0190a000-0000-7000-8000-000000000000"
OTHER = "blip:large"


@pytest.fixture
def settings() -> Settings:
    return Settings(lease_seconds=30, max_attempts=3, retention=1000)


def create_jobs(ledger: Ledger, count: int, model: str = "", owner: str = "", batch: str | None = None) -> list[str]:
    ledger = ledger.for_principal(Principal(owner or None))
    options = CaptionOptions(model=model) if model else None
    return [create_job(ledger, options=options, batch=batch).id for _ in range(count)]


def claim_all(ledger: Ledger, model: str = "", count: int = 1) -> list[str]:
    """The ids in the order in which a worker with the model claims them."""
    order: list[str] = []
    while claims := ledger.claim_next(count, model=model).claims:
        order += [claim.id for claim in claims]
    return order


class TestClaims:
    def test_a_worker_claims_the_jobs_that_ask_for_its_model_or_for_none(self, ledger: Ledger) -> None:
        anyones, own, others = create_jobs(ledger, 2), create_jobs(ledger, 2, "blip"), create_jobs(ledger, 2, OTHER)

        assert claim_all(ledger, "blip") == [*anyones, *own]
        assert claim_all(ledger, OTHER) == others

    @pytest.mark.parametrize("count", [1, 3, 8])
    def test_owners_take_turns_whether_they_ask_for_a_model_or_not(self, ledger: Ledger, count: int) -> None:
        alice, bob = create_jobs(ledger, 20, owner="alice"), create_jobs(ledger, 20, "blip", "bob")

        order = claim_all(ledger, "blip", count)

        assert order == list(itertools.chain(*zip(alice, bob, strict=True)))

    def test_an_owner_gets_no_more_by_asking_for_a_model_and_for_none(self, ledger: Ledger) -> None:
        alice = [*create_jobs(ledger, 10, owner="alice"), *create_jobs(ledger, 10, "blip", "alice")]
        bob = create_jobs(ledger, 20, owner="bob")

        order = claim_all(ledger, "blip", 3)

        assert order == list(itertools.chain(*zip(alice, bob, strict=True)))

    def test_owners_whom_no_worker_could_serve_take_turns_with_the_others_once_one_can(self, ledger: Ledger) -> None:
        create_jobs(ledger, 100, owner="alice")
        bob = create_jobs(ledger, 10, "blip", "bob")
        for _ in range(60):
            ledger.claim_next(1, model=OTHER)

        order = claim_all(ledger, "blip")

        assert [order.index(job_id) for job_id in bob[:4]] == [0, 2, 4, 6]

    def test_each_model_s_bulk_jobs_get_their_share_while_interactive_ones_wait(self, ledger: Ledger) -> None:
        for model in ("blip", OTHER):
            create_jobs(ledger, 3, model, batch=BATCH)
            create_jobs(ledger, 3 * BULK_SHARE, model)

        claims = [
            ledger.claim_next(1, model=model).claims[0] for _ in range(2 * BULK_SHARE) for model in ("blip", OTHER)
        ]

        assert [claim.model for claim in claims if claim.job.batch] == ["blip", OTHER, "blip", OTHER]

    def test_more_is_only_what_the_worker_may_claim(self, ledger: Ledger) -> None:
        create_jobs(ledger, 2, "blip")
        create_jobs(ledger, 2, OTHER)

        assert [ledger.claim_next(1, model="blip").more for _ in range(3)] == [True, False, False]

    def test_a_job_keeps_its_model_when_it_is_released_postponed_lost_or_retried(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        released, postponed, lost, retried = create_jobs(ledger, 4, "blip")
        claims = {claim.id: claim for claim in ledger.claim_next(4, model="blip").claims}
        ledger.release([claims[released]])
        ledger.postpone([claims[postponed]])
        ledger.cancel(retried)
        ledger.retry(retried)
        clock.advance(31)
        recover(ledger, redis)

        assert ledger.claim_next(8, model=OTHER).claims == []
        assert ledger.claim_suspect(OTHER) is None
        claimed = ledger.claim_next(8, model="blip")
        assert ({claim.id for claim in claimed.claims}, claimed.suspects) == ({released, postponed, retried}, 1)
        suspect = ledger.claim_suspect("blip")
        assert suspect and suspect.id == lost

    def test_the_oldest_suspect_is_claimed_whatever_it_asks_for(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        jobs = [*create_jobs(ledger, 1, "blip"), *create_jobs(ledger, 1), *create_jobs(ledger, 1, "blip")]
        ledger.claim_next(8, model="blip")
        clock.advance(31)
        recover(ledger, redis)

        suspects = [ledger.claim_suspect("blip") for _ in range(4)]

        assert [suspect and suspect.id for suspect in suspects] == [*jobs, None]

    @pytest.mark.parametrize("end", ["cancel", "delete"])
    def test_a_canceled_or_deleted_job_leaves_the_queue(self, ledger: Ledger, redis: Redis, end: str) -> None:
        (job_id,) = create_jobs(ledger, 1, "blip")
        getattr(ledger, end)(job_id)
        recover(ledger, redis)

        assert redis.keys("queue:*") == redis.keys("turns:*") == []


class TestRecovery:
    def test_the_waiting_jobs_are_counted_by_model(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        create_jobs(ledger, 2)
        create_jobs(ledger, 3, "blip", batch=BATCH)
        create_jobs(ledger, 1, OTHER)
        ledger.claim_next(1, model=OTHER, bulk=0)
        claims = ledger.claim_next(2, model="blip").claims
        clock.advance(31)

        assert len(claims) == 2
        assert recover(ledger, redis).waiting == {"": 2, "blip": 3, OTHER: 1}

    def test_only_jobs_that_a_worker_may_claim_wait_for_it(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        create_jobs(ledger, 1, OTHER)
        before = [ledger.is_waiting("blip"), ledger.is_waiting(OTHER)]
        ledger.claim_next(1, model=OTHER)
        claimed = ledger.is_waiting(OTHER)
        clock.advance(31)
        recover(ledger, redis)
        suspected = ledger.is_waiting(OTHER)
        create_jobs(ledger, 1, batch=BATCH)

        assert (before, claimed, suspected, ledger.is_waiting("blip")) == ([False, True], False, True, True)


class TestChunks:
    @pytest.fixture
    def cut(self, components: Components) -> tuple[list[str], list[str]]:
        """Ids of the chunks of a batch without a model, and of one that asks for `blip`: two of each."""
        ids = []
        for options in (None, CaptionOptions(model="blip")):
            manifest = NewManifest("s3://pictures/all.jsonl", "s3://results/all")
            components.batches.create(batch := f"batch-{options}", NewBatch(manifest=manifest, options=options))
            claim = components.manifests.claim()
            assert claim is not None
            assert all(components.manifests.add_chunk(claim, number, {}, {}) for number in range(2))
            components.manifests.finish(claim)
            ids.append([f"{batch}/{number}" for number in range(2)])
        return ids[0], ids[1]

    def claimed(self, components: Components, model: str) -> list[str]:
        return [claim.id for claim in iter(lambda: components.chunks.claim(model), None)]

    def test_batches_take_turns_whether_they_ask_for_a_model_or_not(
        self, components: Components, cut: tuple[list[str], list[str]]
    ) -> None:
        assert self.claimed(components, "blip") == [cut[0][0], cut[1][0], cut[0][1], cut[1][1]]

    def test_a_chunk_is_claimed_by_workers_with_its_model_only_also_after_its_lease(
        self, components: Components, cut: tuple[list[str], list[str]], clock: Clock
    ) -> None:
        anyones, blips = cut
        chunks = components.chunks
        first = chunks.claim("blip")
        assert (first and first.id, self.claimed(components, OTHER)) == (anyones[0], anyones[1:])
        lost = chunks.claim("blip")
        assert lost and lost.id == blips[0] and chunks.extend(lost)
        clock.advance(31)

        assert sorted(self.claimed(components, OTHER)) == anyones
        successor = chunks.claim("blip")
        assert successor and (successor.id, successor.attempts) == (lost.id, 2)
        assert not chunks.finish(lost, captioned=1, failed=0) and chunks.finish(successor, captioned=1, failed=0)
        assert self.claimed(components, "blip") == blips[1:]

    def test_the_chunks_of_a_canceled_batch_leave_the_queue_and_return_by_a_retry(
        self, components: Components, cut: tuple[list[str], list[str]], redis: Redis
    ) -> None:
        batch = cut[1][0].partition("/")[0]
        components.chunks.claim(), components.chunks.claim(), components.chunks.claim("blip")
        components.batches.cancel(batch)
        canceled = redis.exists("chunks:blip", "turns:chunks:blip", f"queue:chunks:blip@{batch}")
        components.batches.retry(batch)

        assert canceled == 0
        assert components.metrics.read().chunks == {"": 0, "blip": 2}
        assert self.claimed(components, "blip") == cut[1]
        components.batches.delete(batch)
        assert redis.exists("chunks:blip") == 0


class TestMetrics:
    def test_lanes_and_counters_are_by_model(self, components: Components, ledger: Ledger) -> None:
        create_jobs(ledger, 1)
        create_jobs(ledger, 2, OTHER, batch=BATCH)
        (claim,) = ledger.claim_next(1, model=OTHER, bulk=1).claims
        (claim,) = ledger.claim_next(1, model=OTHER).claims
        commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        state = components.metrics.read()

        assert state.queue.lanes[("bulk", OTHER)] == Lane(1, 1, 0.0)
        assert state.queue.lanes[("interactive", "")] == Lane(0, 0, 0.0)
        assert state.counters["accepted:interactive"] == 1
        assert state.counters[f"accepted:bulk:{OTHER}"] == 2
        assert state.counters[f"ended:succeeded:bulk:{OTHER}"] == 1
        assert state.counters[f"job:0.01:bulk:{OTHER}"] == 1

    def test_a_worker_s_queue_is_what_it_may_claim(self, components: Components, ledger: Ledger) -> None:
        for model, count in (("", 1), ("blip", 2), (OTHER, 4)):
            create_jobs(ledger, count, model)

        queue = components.metrics.queue()

        assert [queue.jobs, queue.for_worker("blip").jobs, queue.for_worker("none").jobs] == [7, 3, 1]
        assert queue.of_kind("interactive") == Lane(7, 3, 0.0)


class TestProgress:
    def progress(self, ledger: Ledger, job_id: str) -> Progress:
        progress = ledger.get(job_id).progress
        assert progress is not None
        return progress

    def test_a_job_says_that_no_worker_with_its_model_is_running(self, components: Components, ledger: Ledger) -> None:
        (job_id,) = create_jobs(ledger, 1, "blip")
        components.workers.announce(Worker(name="w1", model=MODEL, pictures_per_second=2.0))
        without = self.progress(ledger, job_id)
        components.workers.announce(
            Worker(name="w2", model=ModelInfo(name="blip", version="1"), pictures_per_second=4.0)
        )

        assert without == Progress(position=0, eta_seconds=None, reason=outage((), "blip"))
        assert self.progress(ledger, job_id) == Progress(position=0, eta_seconds=0.2)

    def test_a_job_says_why_the_servers_of_all_its_workers_do_not_caption(
        self, components: Components, ledger: Ledger
    ) -> None:
        busy, blip = Message("The model's server is busy."), ModelInfo(name="blip", version="1")
        (job_id,), (any_id,) = create_jobs(ledger, 1, "blip"), create_jobs(ledger, 1)
        components.workers.announce(Worker(name="w1", model=blip, unavailable=busy))
        reasons = [self.progress(ledger, each).reason for each in (job_id, any_id)]
        components.workers.announce(Worker(name="w2", model=MODEL))

        assert reasons == [busy, busy]
        assert [self.progress(ledger, each).reason for each in (job_id, any_id)] == [busy, None]

    def test_a_job_that_asks_for_no_model_is_expected_by_the_speed_of_all_workers(
        self, components: Components, ledger: Ledger
    ) -> None:
        for name in ("blip", "other"):
            model = ModelInfo(name=name, version="1")
            components.workers.announce(Worker(name=name, model=model, pictures_per_second=5.0))

        assert self.progress(ledger, create_jobs(ledger, 1)[0]) == Progress(position=0, eta_seconds=0.1)


arrival = st.tuples(st.sampled_from("abc"), st.sampled_from(["", "blip"]), st.integers(1, 5))


@examples(deadline=None, max_examples=40)
@given(st.lists(arrival, min_size=1, max_size=6), st.integers(0, 7))
def test_positions_in_both_lanes_of_a_model_match_the_claim_order(
    arrivals: list[tuple[str, str, int]], before: int
) -> None:
    ledger = Components(fakeredis.FakeStrictRedis(decode_responses=True), Settings(), Clock()).ledger
    half = len(arrivals) // 2
    jobs = {job_id: model for owner, model, n in arrivals[:half] for job_id in create_jobs(ledger, n, model, owner)}
    early = {claim.id for claim in ledger.claim_next(before, model="blip").claims} if before else set()
    jobs |= {job_id: model for owner, model, n in arrivals[half:] for job_id in create_jobs(ledger, n, model, owner)}
    asking = [job_id for job_id, model in jobs.items() if model and job_id not in early]

    positions = {job_id: ledger.get(job_id).progress for job_id in asking}

    order = claim_all(ledger, "blip")
    assert {job_id: progress and progress.position for job_id, progress in positions.items()} == {
        job_id: order.index(job_id) for job_id in asking
    }
