"""Delivers webhooks from the outbox in threads of their own, so that captioning never waits for a receiver."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from common import logs, strict_json
from common.jobs import moment, rfc3339
from common.ledger import Batches, Delivery, Ledger, Origin, Outbox
from common.outbound import Outbound, Response, Unreachable, UrlNotAllowed
from common.problems import Problem
from common.signing import signed_headers

#: Sender threads per worker, and the maximum of them that send to one host at a time.
SENDER_THREADS, MAX_THREADS_PER_HOST = 4, 2
#: Total timeout of one attempt in seconds. The outbox's lease is longer.
ATTEMPT_TIMEOUT = 15.0
#: Exponential back-off: first delay in seconds, factor, maximum delay in seconds.
MIN_RETRY_DELAY, BACKOFF_FACTOR, MAX_RETRY_DELAY = 5.0, 4.0, 3600.0
#: Random relative change of a delay, so that a receiver that recovers does not get all retries at once.
JITTER = 0.2
#: Seconds after the event at which a webhook is given up.
MAX_EVENT_AGE = 24 * 3600.0
GONE = 410

log = logging.getLogger(__name__)


class WebhookSender:
    """Delivers due webhooks at least once. Several threads may call `deliver` concurrently."""

    def __init__(
        self,
        outbox: Outbox,
        ledger: Ledger,
        batches: Batches,
        outbound: Outbound,
        *,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._batches = batches
        self._outbound = outbound
        self._clock = clock
        self._rng = rng or random.Random()
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()

    def deliver(self, stopping: threading.Event) -> None:
        """Deliver due webhooks until none is left or `stopping` is set."""
        while not stopping.is_set() and (delivery := self._claim_next()):
            try:
                self._attempt(delivery)
            finally:
                with self._lock:
                    self._busy[delivery.host] -= 1

    def _claim_next(self) -> Delivery | None:
        with self._lock:
            busy_hosts = {host for host, threads in self._busy.items() if threads >= MAX_THREADS_PER_HOST}
            delivery = self._outbox.claim(busy_hosts)
            if delivery:
                self._busy += Counter([delivery.host])  # `+=` also removes hosts with a count of 0
        return delivery

    def _attempt(self, delivery: Delivery) -> None:
        store = self._batches if delivery.of_batch else self._ledger
        origin = store.origin(delivery.id)
        with logs.about(replace(delivery.subject, traceparent=origin.traceparent)):
            self._send(delivery, origin)

    def _send(self, delivery: Delivery, origin: Origin) -> None:
        try:
            body = self._body(delivery, origin.prefix)
        except Problem:  # the job or batch was deleted meanwhile
            self._outbox.drop(delivery)
            return
        headers = signed_headers(delivery.id, int(self._clock()), body, self._outbox.secrets())
        headers["Content-Type"] = "application/json"
        if origin.traceparent:
            headers["traceparent"] = origin.traceparent
        try:
            response = self._outbound.request("POST", delivery.url, timeout=ATTEMPT_TIMEOUT, body=body, headers=headers)
        except UrlNotAllowed as error:  # it was allowed on submission; the settings have changed
            self._give_up(delivery, str(error))
        except Unreachable as error:
            self._retry(delivery, str(error))
        else:
            self._handle_response(delivery, response)

    def _body(self, delivery: Delivery, prefix: str) -> bytes:
        """The event's JSON, with the job or batch as in the API. Raises `Problem` if it does not exist any more."""
        data: dict[str, Any]
        if delivery.of_batch:
            data = self._batches.get(delivery.id).body(prefix)
        else:
            data = self._ledger.get(delivery.id).body(prefix)
        event = {"type": delivery.type, "timestamp": rfc3339(moment(delivery.since)), "data": data}
        return strict_json.dumps(event, separators=(",", ":")).encode()

    def _handle_response(self, delivery: Delivery, response: Response) -> None:
        if 200 <= response.status < 300:
            self._outbox.delivered(delivery)
        elif response.status == GONE:
            self._give_up(delivery, f"it answered {GONE} Gone")
        else:
            self._retry(
                delivery, f"it answered {response.status}", min(response.retry_after(self._clock()), MAX_RETRY_DELAY)
            )

    def _retry(self, delivery: Delivery, reason: str, retry_after: float = 0.0) -> None:
        delay = min(MIN_RETRY_DELAY * BACKOFF_FACTOR ** min(delivery.attempts - 1, 10), MAX_RETRY_DELAY)
        delay = max(delay * self._rng.uniform(1 - JITTER, 1 + JITTER), retry_after)
        if self._clock() + delay > delivery.since + MAX_EVENT_AGE:
            self._give_up(delivery, reason)
        else:
            self._outbox.postpone(delivery, delay, reason)

    def _give_up(self, delivery: Delivery, reason: str) -> None:
        self._outbox.give_up(delivery, reason)
        log.error(
            "Webhook %s of %s to %s is given up after %d attempts: %s.",
            delivery.type,
            delivery.id,
            delivery.host,
            delivery.attempts,
            reason,
        )
