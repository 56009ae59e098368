"""Webhooks reach their receivers, signed, again and again until they are taken; a bad receiver hurts only itself."""

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
from common.ledger import Batches, Components, Ledger, NewJob, Outbox
from common.outbound import Outbound
from tests.support.clock import Clock
from tests.support.contract import assert_matches_schema
from tests.support.receiver import Receiver, running_receiver, with_status
from tests.unit.worker.fakes import PATIENCE as FOREVER
from tests.unit.worker.fakes import PICTURE, eventually, in_time
from worker import webhooks
from worker.runtime import WorkerRuntime
from worker.webhooks import JITTER, PATIENCE, SENDERS, SENDERS_PER_HOST, WebhookSender

Told = Callable[[str], Job]


@pytest.fixture
def batches(components: Components, ledger: Ledger) -> Batches:
    return components.batches


@pytest.fixture
def outbox(components: Components) -> Outbox:
    return components.outbox


@pytest.fixture
def webhook_sender(outbox: Outbox, ledger: Ledger, batches: Batches, clock: Clock) -> WebhookSender:
    return WebhookSender(outbox, ledger, batches, Outbound(True), clock=clock, chance=random.Random(1))


@pytest.fixture
def deliver(webhook_sender: WebhookSender) -> Callable[[], None]:
    """What a worker's thread does now and then."""
    return lambda: in_time(lambda: webhook_sender.deliver(threading.Event()))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def told(ledger: Ledger) -> Told:
    """A job that has failed, of which the URL is to be told."""

    def make(url: str) -> Job:
        return ledger.create(new_id(), NewJob(error=problems.EMPTY_UPLOAD("It is empty."), webhook=url))

    return make


class TestWhatIsSent:
    def test_a_job_as_the_api_shows_it_with_a_signature_that_holds(
        self, receiver: Receiver, ledger: Ledger, outbox: Outbox, deliver: Callable[[], None], clock: Clock
    ) -> None:
        job = ledger.create(new_id(), NewJob(input=PICTURE, webhook=receiver.url("/hook?a=b")))
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

    def test_a_batch_with_its_counts(
        self, receiver: Receiver, ledger: Ledger, batches: Batches, deliver: Callable[[], None]
    ) -> None:
        batches.create(batch := new_id(), receiver.url())
        jobs = [ledger.create(new_id(), NewJob(input=PICTURE, batch=batch, webhook=receiver.url())) for _ in range(2)]
        batches.seal(batch)
        for job in jobs:
            ledger.cancel(job.id)
        deliver()

        (asked,) = receiver.requests
        event = json.loads(asked.body)
        assert_matches_schema("Event", event)
        assert (event["type"], event["data"]) == ("batch.completed", batches.get(batch).body())
        assert event["data"]["request_counts"]["canceled"] == 2

    def test_what_was_taken_is_not_sent_again(
        self, receiver: Receiver, told: Told, deliver: Callable[[], None], outbox: Outbox, clock: Clock
    ) -> None:
        told(receiver.url())
        deliver()
        clock.advance(PATIENCE)
        deliver()

        assert len(receiver.requests) == 1
        assert (outbox.standing().waiting, outbox.standing().given_up) == (0, 0)

    def test_of_a_batch_that_has_expired_nothing_is_told(
        self, receiver: Receiver, batches: Batches, deliver: Callable[[], None], redis: Redis, outbox: Outbox
    ) -> None:
        batches.create(batch := new_id(), receiver.url())
        batches.seal(batch)
        redis.delete(f"batch:{batch}")  # as its expiry does
        deliver()

        assert receiver.requests == []
        assert outbox.standing().waiting == 0


class TestTryingAgain:
    @pytest.mark.parametrize("status", [301, 302, 400, 404, 429, 500, 503])
    def test_any_other_answer_is_a_failure_and_it_is_sent_again_under_the_same_id(
        self, told: Told, deliver: Callable[[], None], clock: Clock, status: int
    ) -> None:
        with running_receiver(with_status(status, Location="/elsewhere"), with_status(204)) as receiver:
            told(receiver.url("/hook"))
            deliver()
            first = len(receiver.requests)
            clock.advance(5 * (1 + JITTER))
            deliver()

            assert first == 1
            assert [asked.target for asked in receiver.requests] == ["/hook", "/hook"]
            one, two = (asked.headers for asked in receiver.requests)
            assert one["webhook-id"] == two["webhook-id"]
            assert int(two["webhook-timestamp"]) - int(one["webhook-timestamp"]) == 6
            assert one["webhook-signature"] != two["webhook-signature"]

    def test_pauses_grow_up_to_an_hour_and_it_is_given_up_after_a_day(
        self,
        told: Told,
        deliver: Callable[[], None],
        clock: Clock,
        outbox: Outbox,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        began, times = clock(), []
        with running_receiver(with_status(500, b"secret details")) as receiver:
            job = told(receiver.url("/hook?token=secret"))
            while outbox.standing().waiting:
                sent = len(receiver.requests)
                deliver()
                if len(receiver.requests) > sent:
                    times.append(clock())
                clock.advance(1 if clock() - began < 10 else 60)

        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert 4 <= pauses[0] <= 6
        assert pauses[:5] == sorted(pauses[:5])
        assert max(pauses) <= 3600 * (1 + JITTER) + 60
        assert PATIENCE - 2 * 3600 < times[-1] - began <= PATIENCE
        assert 20 < len(times) < 40
        assert outbox.standing().last == "127.0.0.1: it answered 500"
        (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert job.id in line and "given up after" in line and "secret" not in line

    def test_a_receiver_that_is_not_there_is_tried_again(
        self, told: Told, deliver: Callable[[], None], clock: Clock
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        told(f"http://127.0.0.1:{port}/")
        deliver()
        clock.advance(6)
        with running_receiver(port=port) as receiver:
            deliver()

        assert len(receiver.requests) == 1

    def test_gone_means_no_more(self, told: Told, deliver: Callable[[], None], outbox: Outbox) -> None:
        with running_receiver(with_status(410)) as receiver:
            told(receiver.url())
            deliver()

        assert (outbox.standing().waiting, outbox.standing().given_up) == (0, 1)

    def test_a_url_that_is_no_longer_allowed_is_given_up(
        self, told: Told, outbox: Outbox, ledger: Ledger, batches: Batches, receiver: Receiver, clock: Clock
    ) -> None:
        told(receiver.url())
        strict = WebhookSender(outbox, ledger, batches, Outbound(False), clock=clock)
        in_time(lambda: strict.deliver(threading.Event()))

        assert receiver.requests == []
        assert "begin with https" in (outbox.standing().last or "")

    @pytest.mark.parametrize(
        ("asked", "pause"),
        [("120", 120), ("1", 5), ("999999", 3600), ("date", 300), ("soon", 5), ("-5", 5), ("9" * 500, 3600)],
    )
    def test_retry_after_is_heeded_within_bounds(
        self, told: Told, deliver: Callable[[], None], clock: Clock, asked: str, pause: int
    ) -> None:
        value = formatdate(clock() + 300, usegmt=True) if asked == "date" else asked
        with running_receiver(with_status(503, Retry_After=value)) as receiver:
            told(receiver.url())
            deliver()
            clock.advance(pause * (1 - JITTER) - 0.1)
            deliver()
            early = len(receiver.requests)
            clock.advance(pause * 2 * JITTER + 0.2)
            deliver()

            assert (early, len(receiver.requests)) == (1, 2)


class TestOthers:
    def test_a_receiver_that_does_not_answer_holds_up_no_other(
        self, webhook_sender: WebhookSender, told: Told, receiver: Receiver
    ) -> None:
        released, stopping = threading.Event(), threading.Event()

        def hang(handler: BaseHTTPRequestHandler) -> None:
            released.wait(FOREVER)
            with_status(200)(handler)

        with running_receiver(hang) as slow:
            for _ in range(3 * SENDERS):
                told(slow.url(host="localhost"))
            for _ in range(3):
                told(receiver.url())
            threads = [threading.Thread(target=webhook_sender.deliver, args=(stopping,)) for _ in range(SENDERS)]
            for thread in threads:
                thread.start()
            try:
                eventually(lambda: len(receiver.requests) == 3)
                assert len(slow.requests) <= SENDERS_PER_HOST
            finally:
                stopping.set()
                released.set()
                for thread in threads:
                    thread.join(FOREVER)

    def test_who_was_killed_while_sending_is_followed_by_another(
        self, told: Told, outbox: Outbox, receiver: Receiver, deliver: Callable[[], None], clock: Clock
    ) -> None:
        told(receiver.url())
        assert outbox.claim() is not None  # and nothing more is heard of who did
        deliver()
        meanwhile = len(receiver.requests)
        clock.advance(30)
        deliver()

        assert (meanwhile, len(receiver.requests)) == (0, 1)

    def test_a_worker_that_stops_begins_no_other(
        self, webhook_sender: WebhookSender, told: Told, receiver: Receiver
    ) -> None:
        stopping = threading.Event()
        stopping.set()
        told(receiver.url())
        in_time(lambda: webhook_sender.deliver(stopping))

        assert receiver.requests == []

    def test_captioning_goes_on_while_a_receiver_hangs(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        wait_in: Callable[..., Job],
        answer: Callable[[], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        sending, released = threading.Event(), threading.Event()

        def hang(*_: object) -> None:
            sending.set()
            released.wait(FOREVER)

        monkeypatch.setattr(WebhookSender, "deliver", hang)
        runtime.start()
        assert sending.wait(FOREVER)
        job = wait_in()
        answer()
        released.set()

        assert ledger.get(job.id).status is Status.SUCCEEDED


def test_an_attempt_with_all_around_it_is_shorter_than_its_lease() -> None:
    from common.ledger.connection import ANSWER_SECONDS
    from common.ledger.outbox import LEASE

    assert webhooks.ATTEMPT + 2 * ANSWER_SECONDS < LEASE
