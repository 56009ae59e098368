"""Delivers webhooks from the outbox, beside the captioning and never before it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from common import strict_json
from common.jobs import moment, rfc3339
from common.ledger import Batches, Delivery, Ledger, Outbox
from common.outbound import Outbound, Response, Unreachable, UrlNotAllowed
from common.problems import Problem
from common.signing import signed_headers

#: Threads that deliver, and how many of them one host may keep waiting at once.
SENDERS, SENDERS_PER_HOST = 4, 2
#: Seconds for one attempt, all in all. The outbox's lease is longer.
ATTEMPT = 15.0
#: Seconds before the second attempt, how much longer each further pause is, and the longest.
FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 5.0, 4.0, 3600.0
#: Part of itself by which a pause is shorter or longer by chance, so that a receiver that was away is not met by all.
JITTER = 0.2
#: Seconds after its event for which a webhook is tried.
PATIENCE = 24 * 3600.0
GONE = 410

log = logging.getLogger(__name__)


class WebhookSender:
    """Takes webhooks from the outbox and delivers them, at least once, in as many threads as call `deliver`."""

    def __init__(
        self,
        outbox: Outbox,
        ledger: Ledger,
        batches: Batches,
        outbound: Outbound,
        *,
        clock: Callable[[], float] = time.time,
        chance: random.Random | None = None,
    ) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._batches = batches
        self._outbound = outbound
        self._clock = clock
        self._chance = chance or random.Random()
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()

    def deliver(self, stopping: threading.Event) -> None:
        """Deliver one webhook after another until none is due."""
        while not stopping.is_set() and (delivery := self._next()):
            try:
                self._attempt(delivery)
            finally:
                with self._lock:
                    self._busy[delivery.host] -= 1

    def _next(self) -> Delivery | None:
        with self._lock:
            full = {host for host, senders in self._busy.items() if senders >= SENDERS_PER_HOST}
            delivery = self._outbox.claim(full)
            if delivery:
                self._busy += Counter([delivery.host])  # which also forgets the hosts that nobody waits for
        return delivery

    def _attempt(self, delivery: Delivery) -> None:
        try:
            body = self._body(delivery)
        except Problem:  # deleted meanwhile: there is nothing to tell any more
            self._outbox.delivered(delivery)
            return
        headers = signed_headers(delivery.id, int(self._clock()), body, self._outbox.secrets())
        headers["Content-Type"] = "application/json"
        try:
            answer = self._outbound.request("POST", delivery.url, timeout=ATTEMPT, body=body, headers=headers)
        except UrlNotAllowed as error:  # allowed when it came: the settings have changed
            self._give_up(delivery, str(error))
        except Unreachable as error:
            self._try_again(delivery, str(error))
        else:
            self._heed(delivery, answer)

    def _body(self, delivery: Delivery) -> bytes:
        """What is told: the job or batch as the API shows it. Raises the `Problem` of one that is gone."""
        data: dict[str, Any]
        if delivery.type.startswith("batch."):
            data = self._batches.get(delivery.id).body(self._batches.prefix(delivery.id))
        else:
            data = self._ledger.get(delivery.id).body(self._ledger.prefix(delivery.id))
        event = {"type": delivery.type, "timestamp": rfc3339(moment(delivery.since)), "data": data}
        return strict_json.dumps(event, separators=(",", ":")).encode()

    def _heed(self, delivery: Delivery, answer: Response) -> None:
        if 200 <= answer.status < 300:
            self._outbox.delivered(delivery)
        elif answer.status == GONE:
            self._give_up(delivery, f"it answered {GONE}, and wants no more")
        else:
            self._try_again(delivery, f"it answered {answer.status}", self._asked_pause(answer))

    def _try_again(self, delivery: Delivery, why: str, asked: float = 0.0) -> None:
        pause = min(FIRST_PAUSE * GROWTH ** min(delivery.attempts - 1, 10), LONGEST_PAUSE)
        pause = max(pause * self._chance.uniform(1 - JITTER, 1 + JITTER), asked)
        if self._clock() + pause > delivery.since + PATIENCE:
            self._give_up(delivery, why)
        else:
            self._outbox.postpone(delivery, pause, why)

    def _give_up(self, delivery: Delivery, why: str) -> None:
        self._outbox.give_up(delivery, why)
        log.error(
            "The webhook %s about %s to %s is given up after %d attempts: %s.",
            delivery.type,
            delivery.id,
            delivery.host,
            delivery.attempts,
            why,
        )

    def _asked_pause(self, answer: Response) -> float:
        """Seconds that a Retry-After asks for, at most the longest pause; 0 when it does not."""
        asked = answer.headers["Retry-After"] or ""
        if asked.isascii() and asked.isdigit():
            return min(float(asked[:9]), LONGEST_PAUSE)
        try:
            at = parsedate_to_datetime(asked)
        except ValueError:
            return 0.0
        seconds = at.replace(tzinfo=at.tzinfo or UTC).timestamp() - self._clock()
        return min(max(seconds, 0.0), LONGEST_PAUSE)
