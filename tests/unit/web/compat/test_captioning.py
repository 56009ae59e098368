"""Requests of other software create the jobs of `/v1/jobs`, and wait for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from common import problems
from common.ledger import Ledger
from tests.support.claims import claim_job, commit_failure
from tests.support.images import encoded, numbered
from tests.unit.web.client import MODEL, Client
from tests.unit.web.compat.requests import ask


def jobs(client: Client) -> list[dict[str, str]]:
    return list(client.get("/v1/jobs").json["jobs"])


class TestWaiting:
    def test_a_request_waits_for_its_caption(self, client: Client, worker: None) -> None:
        answer = ask(client)

        assert (answer.status_code, answer.json) == (200, [{"generated_text": "a red ball"}])

    def test_a_job_that_fails_is_the_request_s_error(
        self, client: Client, ledger: Ledger, working: Callable[..., AbstractContextManager[None]]
    ) -> None:
        def fail(job_id: str) -> None:
            claim = claim_job(ledger, job_id)
            assert claim is not None
            commit_failure(ledger, claim, problems.CAPTION_FAILED("The {part} is broken.", part="model"))

        with working(fail):
            answer = ask(client)

        assert (answer.status_code, answer.json) == (500, {"error": "The model is broken."})

    def test_a_job_that_somebody_cancels_is_the_request_s_error(
        self, client: Client, ledger: Ledger, working: Callable[..., AbstractContextManager[None]]
    ) -> None:
        with working(ledger.cancel):
            answer = ask(client)

        assert answer.status_code == 410
        assert "was canceled" in answer.json["error"]

    @pytest.mark.usefixtures("no_wait")
    def test_a_caption_that_is_not_ready_can_be_asked_for_again(
        self, client: Client, announce: Callable[..., None]
    ) -> None:
        announce(MODEL)

        answer = ask(client)

        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "Send the same request again" in answer.json["error"]

    @pytest.mark.usefixtures("no_wait")
    def test_the_delay_of_the_next_request_is_bounded_when_many_pictures_wait(
        self, client: Client, announce: Callable[..., None], ledger: Ledger
    ) -> None:
        announce(MODEL)  # two pictures a second
        for image in numbered(70):
            client.post("/v1/jobs", data=image, headers={"Content-Type": "image/jpeg"})

        assert ask(client).headers["Retry-After"] == "30"


@pytest.mark.usefixtures("no_wait")
class TestRepeatedRequests:
    def test_a_repeated_request_waits_for_the_same_job(
        self, client: Client, caption: Callable[[str, str], None]
    ) -> None:
        ask(client)
        ask(client)
        (job,) = jobs(client)
        caption(job["id"], "a red ball")

        assert len(jobs(client)) == 1
        assert job["status"] == "queued"

    def test_a_finished_job_is_not_joined_so_that_a_new_model_captions_again(
        self, client: Client, caption: Callable[[str, str], None]
    ) -> None:
        ask(client)
        caption(jobs(client)[0]["id"], "a red ball")

        answer = ask(client)  # no model is announced, thus there is no cached caption

        assert answer.status_code == 503
        assert sorted(job["status"] for job in jobs(client)) == ["queued", "succeeded"]

    def test_a_cached_caption_is_returned_at_once(
        self, client: Client, caption: Callable[[str, str], None], announce: Callable[..., None]
    ) -> None:
        announce(MODEL)
        ask(client)
        caption(jobs(client)[0]["id"], "a red ball")

        assert ask(client).json == [{"generated_text": "a red ball"}]

    def test_a_failed_job_is_tried_again(self, client: Client, ledger: Ledger) -> None:
        ask(client)
        claim = claim_job(ledger, jobs(client)[0]["id"])
        assert claim is not None
        commit_failure(ledger, claim, problems.CAPTION_FAILED("The model gave no usable caption."))
        assert jobs(client)[0]["status"] == "failed"

        answer = ask(client)

        assert answer.status_code == 503
        assert [job["status"] for job in jobs(client)] == ["queued"]

    def test_a_job_of_v1_jobs_is_not_joined(self, client: Client) -> None:
        client.post("/v1/jobs", data=encoded(), headers={"Content-Type": "image/jpeg"})
        ask(client)

        assert len(jobs(client)) == 2
