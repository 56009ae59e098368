"""`captiond batch --manifest`: the service captions, and the command says where the results are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.batch.manifest import caption_manifest
from cli.batch.options import Options
from cli.batch.remote import Service
from tests.support.receiver import Responder, running_receiver, with_status

URL = "s3://bucket/all.jsonl"


def answer(
    status: str, *, failed: int = 0, chunks_failed: int = 0, error: object = None, reason: str | None = None
) -> Responder:
    manifest = {
        "output": "s3://results/b1",
        "chunks": {"total": 3, "done": 3 - chunks_failed, "failed": chunks_failed, "canceled": 0},
        "pictures": {"captioned": 3000 - failed, "failed": failed},
        "error": error,
    }
    return with_status(200, json.dumps({"id": "b1", "status": status, "manifest": manifest, "reason": reason}).encode())


def run(*answers: Responder, model: str | None = None) -> tuple[int, list[Any]]:
    with running_receiver(*answers) as receiver:
        service = Service(receiver.url(""), None, sleep=lambda seconds: None)
        code = caption_manifest(Options([], manifest=URL, url=receiver.url(""), model=model), service)
        return code, receiver.requests


def test_the_manifest_is_sent_and_its_end_awaited(capsys: pytest.CaptureFixture[str]) -> None:
    code, requests = run(answer("in_progress"), answer("in_progress"), answer("completed"))

    assert code == 0
    assert json.loads(requests[0].body) == {"manifest": URL}
    assert len(requests) == 3
    printed, said = capsys.readouterr()
    assert printed == "s3://results/b1\n"
    assert "3000 captioned, 0 failed" in said


def test_the_model_is_that_of_the_command_line_and_a_reason_to_wait_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = answer("in_progress"), *[answer("in_progress", reason="No worker has it.")] * 2, answer("completed")
    _, requests = run(*answers, model="blip")

    assert json.loads(requests[0].body) == {"manifest": URL, "options": {"model": "blip"}}
    assert capsys.readouterr().err.count("No worker has it.") == 1


@pytest.mark.parametrize(
    "end", [{"failed": 1}, {"chunks_failed": 1}, {"error": {"detail": "The file all.jsonl does not exist."}}]
)
def test_what_failed_is_said(end: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(answer("completed", **end))

    assert code == 1
    assert ("does not exist" in capsys.readouterr().err) == ("error" in end)


@pytest.mark.parametrize(
    "options",
    [Options([]), Options(["a.jpg"], manifest=URL, url="http://a"), Options([], manifest=URL),
     Options([], manifest=URL, url="http://a", out=Path("a.csv"))],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options: Options) -> None:
    assert "--manifest URL" in str(options.wrong())
