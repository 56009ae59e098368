"""The claims that a worker holds: what is lost or returned is not captioned."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from common.jobs import Job
from common.ledger import Claim, Ledger
from worker.claims import HeldClaims


@pytest.fixture
def claims(create_job: Callable[..., Job], ledger: Ledger) -> list[Claim]:
    for _ in range(2):
        create_job()
    return ledger.claim_next(2).claims


def test_the_future_of_a_lost_claim_is_canceled(claims: list[Claim]) -> None:
    held, futures = HeldClaims(), [Future[None](), Future[None]()]
    held.add(claims)
    for claim, future in zip(claims, futures, strict=True):
        held.attach(claim, future)

    held.lose(claims[:1])

    assert [future.cancelled() for future in futures] == [True, False]
    assert list(held) == claims[1:]


def test_a_future_that_comes_after_its_claim_was_lost_is_canceled(claims: list[Claim]) -> None:
    held, future = HeldClaims(), Future[None]()
    held.add(claims)
    held.lose(claims)

    held.attach(claims[0], future)

    assert future.cancelled() and len(held) == 0


def test_only_what_waits_for_the_model_is_canceled(claims: list[Claim]) -> None:
    held, waiting, running = HeldClaims(), Future[None](), Future[None]()
    running.set_running_or_notify_cancel()
    held.add(claims)
    held.attach(claims[0], waiting)
    held.attach(claims[1], running)

    assert held.cancel_waiting() == claims[:1]
    assert waiting.cancelled() and not running.cancelled()
    assert list(held) == claims
