"""Captions through a service: batches are sent, waited for, and sent again while the service is away or full."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.batch import BatchError
from cli.batch.remote import RemoteCaptioner
from cli.batch.sources import Source
from common.jobs import Output
from common.problems import Problem
from tests.support.images import numbered
from tests.support.receiver import Receiver, Responder, running_receiver, with_status


def answer(body: object, status: int = 200, **headers: str) -> Responder:
    return with_status(status, json.dumps(body).encode(), **headers)


def results(*captions: str | None) -> Responder:
    """Result lines of a batch; None is an image that failed."""
    lines = [
        {
            "custom_id": str(index),
            "status": "succeeded" if caption else "failed",
            "caption": caption,
            "score": -0.5 if caption else None,
            "confidence": 0.3 if caption else None,
            "unsure": True if caption else None,
            "error": None if caption else {"type": "/problems/damaged-image", "title": "Damaged", "detail": "Torn."},
        }
        for index, caption in enumerate(captions)
    ]
    return with_status(200, "".join(json.dumps(line) + "\n" for line in lines).encode())


ACCEPTED = answer({"id": "b1", "status": "in_progress"}, 202)
OPEN = answer({"id": "b1", "status": "in_progress"})
DONE = answer({"id": "b1", "status": "completed"})


@contextmanager
def service(*answers: Responder, key: str | None = None) -> Iterator[tuple[RemoteCaptioner, Receiver]]:
    with running_receiver(*answers) as receiver:
        yield RemoteCaptioner(receiver.url(""), key, sleep=lambda seconds: None), receiver


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    for number, data in enumerate(numbered(3)):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    return [Source(str(tmp_path / f"{number}.jpg")) for number in range(3)]


def test_a_batch_is_sent_awaited_and_its_results_are_in_order(sources: list[Source]) -> None:
    with service(ACCEPTED, OPEN, DONE, results("one", "two", "three"), key="captiond_x") as (captioner, receiver):
        found = list(captioner.captions(sources))

    assert found == [
        (source, Output(caption=word, score=-0.5, confidence=0.3, unsure=True))
        for source, word in zip(sources, ("one", "two", "three"), strict=True)
    ]
    assert [(each.method, each.target) for each in receiver.requests] == [
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches/b1"),
        ("GET", "/v1/batches/b1"),
        ("GET", "/v1/batches/b1/results"),
    ]
    assert {each.headers["Authorization"] for each in receiver.requests} == {"Bearer captiond_x"}
    assert all(source.read() in receiver.requests[0].body for source in sources)


def test_a_batch_asks_for_the_model_and_says_once_why_it_waits(
    sources: list[Source], capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = answer({"id": "b1", "status": "in_progress", "reason": "No worker with the model blip is running."})
    with running_receiver(ACCEPTED, waiting, waiting, DONE, results("one", "two", "three")) as receiver:
        captioner = RemoteCaptioner(receiver.url(""), None, model="blip", sleep=lambda seconds: None)
        found = list(captioner.captions(sources))

    assert len(found) == 3
    assert b'name="options"\r\n\r\n{"model": "blip"}\r\n' in receiver.requests[0].body
    assert capsys.readouterr().err.count("No worker with the model blip is running.") == 1


def test_images_that_fail_here_or_there_have_their_problem(sources: list[Source]) -> None:
    Path(sources[0].location).unlink()
    with service(ACCEPTED, DONE, with_status(200, b"")) as (captioner, receiver):
        receiver.responders[2] = with_status(
            200,
            b'{"custom_id": "1", "status": "failed", "caption": null, "score": null, '
            b'"error": {"type": "/problems/damaged-image", "title": "Damaged", "detail": "Torn."}}\n'
            b'{"custom_id": "2", "status": "succeeded", "caption": "a cat", "score": -1.0, "error": null}\n',
        )
        found = [result for _, result in captioner.captions(sources)]

    unreadable, torn, captioned = found
    assert isinstance(unreadable, Problem) and unreadable.kind.slug == "not-found"
    assert isinstance(torn, Problem) and (torn.kind.slug, torn.detail) == ("damaged-image", "Torn.")
    assert captioned == Output(caption="a cat", score=-1.0)


def test_a_full_service_is_asked_again(sources: list[Source], capsys: pytest.CaptureFixture[str]) -> None:
    full = answer({"detail": "The queue is full."}, 503, Retry_After="7")
    with service(full, full, ACCEPTED, DONE, results("one", "two", "three")) as (captioner, receiver):
        assert len(list(captioner.captions(sources))) == 3

    assert [each.method for each in receiver.requests[:3]] == ["POST"] * 3
    assert capsys.readouterr().err == "The queue is full. Trying again.\n"


def test_a_refusal_ends_the_run_with_the_service_s_reason(sources: list[Source]) -> None:
    refusal = answer({"detail": "Send an API key."}, 401)
    with service(refusal) as (captioner, _), pytest.raises(BatchError, match=r"401: Send an API key\."):
        list(captioner.captions(sources))


@pytest.mark.parametrize("limit", ["MAX_IMAGES", "MAX_BYTES"])
def test_a_request_has_at_most_so_many_images_and_bytes(
    limit: str, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"cli.batch.remote.{limit}", 1)
    done = (DONE, results("a cat"))
    # Each batch is sent before the results of the one before are read.
    answers = (ACCEPTED, ACCEPTED, *done, ACCEPTED, *done, *done)
    with service(*answers) as (captioner, receiver):
        assert len(list(captioner.captions(sources))) == 3

    posts = [request for request in receiver.requests if request.method == "POST"]
    assert [source.read() in post.body for source, post in zip(sources, posts, strict=True)] == [True] * 3


def test_a_service_that_stays_away_is_given_up(sources: list[Source]) -> None:
    with Receiver() as receiver:
        url = receiver.url()

    with pytest.raises(BatchError, match="No service answers"):
        list(RemoteCaptioner(url, None, patience=0.0).captions(sources))


def test_the_service_is_asked_for_problems_in_the_language_of_the_terminal(
    sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTIOND_LANGUAGE", "ru")
    with service(ACCEPTED, DONE, results("one", "two", "three")) as (captioner, receiver):
        list(captioner.captions(sources))

    assert {request.headers["Accept-Language"] for request in receiver.requests} == {"ru"}
