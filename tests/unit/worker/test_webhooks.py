"""Webhook delivery: content, signature, retries and isolation between receivers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import logging
import random
import socket
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler

import pytest
from redis import Redis

from common import problems
from common.jobs import Job, Status, new_id
from common.ledger import Batches, Components, Ledger, NewBatch, NewJob, Outbox
from common.outbound import Outbound
from tests.support.clock import Clock
from tests.support.contract import assert_matches_schema
from tests.support.images import IMAGE
from tests.support.receiver import Receiver, running_receiver, with_status
from tests.unit.worker.fakes import TIMEOUT, eventually, with_timeout
from worker import webhooks
from worker.runtime import WorkerRuntime
from worker.webhooks import JITTER, MAX_EVENT_AGE, MAX_THREADS_PER_HOST, SENDER_THREADS, WebhookSender

MakeFailedJob = Callable[[str], Job]


@pytest.fixture
def batches(components: Components, ledger: Ledger) -> Batches:
    return components.batches


@pytest.fixture
def outbox(components: Components) -> Outbox:
    return components.outbox


@pytest.fixture
def webhook_sender(outbox: Outbox, ledger: Ledger, batches: Batches, clock: Clock) -> WebhookSender:
    return WebhookSender(outbox, ledger, batches, Outbound(True), clock=clock, rng=random.Random(1))


@pytest.fixture
def deliver(webhook_sender: WebhookSender) -> Callable[[], None]:
    """Runs one delivery pass, as a webhook thread does."""
    return lambda: with_timeout(lambda: webhook_sender.deliver(threading.Event()))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def failed_job(ledger: Ledger) -> MakeFailedJob:
    """Creates a failed job with a webhook to the URL."""

    def make(url: str) -> Job:
        return ledger.create(new_id(), NewJob(error=problems.EMPTY_UPLOAD("It is empty."), webhook=url))

    return make


class TestRequest:
    def test_a_job_event_has_the_job_and_a_valid_signature(
        self, receiver: Receiver, ledger: Ledger, outbox: Outbox, deliver: Callable[[], None], clock: Clock
    ) -> None:
        job = ledger.create(new_id(), NewJob(input=IMAGE, webhook=receiver.url("/hook?a=b")))
        clock.advance(5)
        ledger.cancel(job.id)
        clock.advance(60)
        deliver()

        (asked,) = receiver.requests
        assert (asked.method, asked.target, asked.headers["Content-Type"]) == ("POST", "/hook?a=b", "application/json")
        assert_matches_schema("Event", json.loads(asked.body))
        assert json.loads(asked.body) == {
            "type": "job.canceled",
            "timestamp": "2023-11-14T22:13:25.000Z",
            "data": ledger.get(job.id).body(),
        }
        assert (asked.headers["webhook-id"], asked.headers["webhook-timestamp"]) == (job.id, str(int(clock())))
        (secret,) = outbox.secrets()
        content = f"{job.id}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
        digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), content, hashlib.sha256).digest()
        assert asked.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"

    def test_a_batch_event_has_the_batch_with_its_counts(
        self, receiver: Receiver, ledger: Ledger, batches: Batches, deliver: Callable[[], None]
    ) -> None:
        batches.create(batch := new_id(), NewBatch(webhook=receiver.url()))
        jobs = [ledger.create(new_id(), NewJob(input=IMAGE, batch=batch, webhook=receiver.url())) for _ in range(2)]
        batches.seal(batch)
        for job in jobs:
            ledger.cancel(job.id)
        deliver()

        (asked,) = receiver.requests
        event = json.loads(asked.body)
        assert_matches_schema("Event", event)
        assert (event["type"], event["data"]) == ("batch.completed", batches.get(batch).body())
        assert event["data"]["request_counts"]["canceled"] == 2

    def test_a_delivered_webhook_is_not_sent_again(
        self, receiver: Receiver, failed_job: MakeFailedJob, deliver: Callable[[], None], outbox: Outbox, clock: Clock
    ) -> None:
        failed_job(receiver.url())
        deliver()
        clock.advance(MAX_EVENT_AGE)
        deliver()

        assert len(receiver.requests) == 1
        assert (outbox.status().waiting, outbox.status().given_up) == (0, 0)

    def test_no_event_is_sent_for_an_expired_batch(
        self, receiver: Receiver, batches: Batches, deliver: Callable[[], None], redis: Redis, outbox: Outbox
    ) -> None:
        batches.create(batch := new_id(), NewBatch(webhook=receiver.url()))
        batches.seal(batch)
        redis.delete(f"batch:{batch}")  # as its TTL does
        deliver()

        assert receiver.requests == []
        assert outbox.status().waiting == 0


class TestRetries:
    @pytest.mark.parametrize("status", [301, 302, 400, 404, 429, 500, 503])
    def test_an_error_response_is_retried_with_the_same_id(
        self, failed_job: MakeFailedJob, deliver: Callable[[], None], clock: Clock, status: int
    ) -> None:
        with running_receiver(with_status(status, Location="/elsewhere"), with_status(204)) as receiver:
            failed_job(receiver.url("/hook"))
            deliver()
            first = len(receiver.requests)
            clock.advance(5 * (1 + JITTER))
            deliver()

            assert first == 1
            assert [asked.target for asked in receiver.requests] == ["/hook", "/hook"]
            first_headers, second_headers = (asked.headers for asked in receiver.requests)
            assert first_headers["webhook-id"] == second_headers["webhook-id"]
            assert int(second_headers["webhook-timestamp"]) - int(first_headers["webhook-timestamp"]) == 6
            assert first_headers["webhook-signature"] != second_headers["webhook-signature"]

    def test_delays_grow_to_an_hour_and_the_webhook_is_given_up_after_a_day(
        self,
        failed_job: MakeFailedJob,
        deliver: Callable[[], None],
        clock: Clock,
        outbox: Outbox,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        started, times = clock(), []
        with running_receiver(with_status(500, b"secret details")) as receiver:
            job = failed_job(receiver.url("/hook?token=secret"))
            while outbox.status().waiting:
                sent = len(receiver.requests)
                deliver()
                if len(receiver.requests) > sent:
                    times.append(clock())
                clock.advance(1 if clock() - started < 10 else 60)

        delays = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert 4 <= delays[0] <= 6
        assert delays[:5] == sorted(delays[:5])
        assert max(delays) <= 3600 * (1 + JITTER) + 60
        assert MAX_EVENT_AGE - 2 * 3600 < times[-1] - started <= MAX_EVENT_AGE
        assert 20 < len(times) < 40
        assert outbox.status().last == "127.0.0.1: it answered 500"
        (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert job.id in message and "given up after" in message and "secret" not in message

    def test_an_unreachable_receiver_is_retried(
        self, failed_job: MakeFailedJob, deliver: Callable[[], None], clock: Clock
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        failed_job(f"http://127.0.0.1:{port}/")
        deliver()
        clock.advance(6)
        with running_receiver(port=port) as receiver:
            deliver()

        assert len(receiver.requests) == 1

    def test_a_gone_response_gives_the_webhook_up(
        self, failed_job: MakeFailedJob, deliver: Callable[[], None], outbox: Outbox
    ) -> None:
        with running_receiver(with_status(410)) as receiver:
            failed_job(receiver.url())
            deliver()

        assert (outbox.status().waiting, outbox.status().given_up) == (0, 1)

    def test_a_url_that_is_no_longer_allowed_is_given_up(
        self,
        failed_job: MakeFailedJob,
        outbox: Outbox,
        ledger: Ledger,
        batches: Batches,
        receiver: Receiver,
        clock: Clock,
    ) -> None:
        failed_job(receiver.url())
        strict = WebhookSender(outbox, ledger, batches, Outbound(False), clock=clock)
        with_timeout(lambda: strict.deliver(threading.Event()))

        assert receiver.requests == []
        assert "begin with https" in (outbox.status().last or "")

    @pytest.mark.parametrize(
        ("retry_after", "delay"),
        [("120", 120), ("1", 5), ("999999", 3600), ("date", 300), ("soon", 5), ("-5", 5), ("9" * 500, 3600)],
    )
    def test_retry_after_is_respected_within_bounds(
        self, failed_job: MakeFailedJob, deliver: Callable[[], None], clock: Clock, retry_after: str, delay: int
    ) -> None:
        value = formatdate(clock() + 300, usegmt=True) if retry_after == "date" else retry_after
        with running_receiver(with_status(503, Retry_After=value)) as receiver:
            failed_job(receiver.url())
            deliver()
            clock.advance(delay * (1 - JITTER) - 0.1)
            deliver()
            early = len(receiver.requests)
            clock.advance(delay * 2 * JITTER + 0.2)
            deliver()

            assert (early, len(receiver.requests)) == (1, 2)


class TestIsolation:
    def test_a_hanging_receiver_does_not_delay_other_receivers(
        self, webhook_sender: WebhookSender, failed_job: MakeFailedJob, receiver: Receiver
    ) -> None:
        released, stopping = threading.Event(), threading.Event()

        def hang(handler: BaseHTTPRequestHandler) -> None:
            released.wait(TIMEOUT)
            with_status(200)(handler)

        with running_receiver(hang) as slow:
            for _ in range(3 * SENDER_THREADS):
                failed_job(slow.url(host="localhost"))
            for _ in range(3):
                failed_job(receiver.url())
            threads = [threading.Thread(target=webhook_sender.deliver, args=(stopping,)) for _ in range(SENDER_THREADS)]
            for thread in threads:
                thread.start()
            try:
                eventually(lambda: len(receiver.requests) == 3)
                assert len(slow.requests) <= MAX_THREADS_PER_HOST
            finally:
                stopping.set()
                released.set()
                for thread in threads:
                    thread.join(TIMEOUT)

    def test_a_webhook_is_sent_again_after_its_sender_was_lost(
        self, failed_job: MakeFailedJob, outbox: Outbox, receiver: Receiver, deliver: Callable[[], None], clock: Clock
    ) -> None:
        failed_job(receiver.url())
        assert outbox.claim() is not None  # by a sender that is then lost
        deliver()
        meanwhile = len(receiver.requests)
        clock.advance(30)
        deliver()

        assert (meanwhile, len(receiver.requests)) == (0, 1)

    def test_a_stopping_worker_starts_no_delivery(
        self, webhook_sender: WebhookSender, failed_job: MakeFailedJob, receiver: Receiver
    ) -> None:
        stopping = threading.Event()
        stopping.set()
        failed_job(receiver.url())
        with_timeout(lambda: webhook_sender.deliver(stopping))

        assert receiver.requests == []

    def test_captioning_continues_while_a_receiver_hangs(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        create_job: Callable[..., Job],
        run_task: Callable[[], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        sending, released = threading.Event(), threading.Event()

        def hang(*_: object) -> None:
            sending.set()
            released.wait(TIMEOUT)

        monkeypatch.setattr(WebhookSender, "deliver", hang)
        runtime.start()
        assert sending.wait(TIMEOUT)
        job = create_job()
        run_task()
        released.set()

        assert ledger.get(job.id).status is Status.SUCCEEDED


def test_an_attempt_with_its_redis_commands_is_shorter_than_its_lease() -> None:
    from common.ledger.connection import COMMAND_TIMEOUT
    from common.ledger.outbox import LEASE_SECONDS

    assert webhooks.ATTEMPT_TIMEOUT + 2 * COMMAND_TIMEOUT < LEASE_SECONDS
