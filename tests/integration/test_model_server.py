"""The whole service, and the commands without it, with a model that a server runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.images import drawing, encoded
from tests.support.model_server import Fault, StandIn, running_stand_in
from tests.support.service import Service, wait_until

KEY = "sk-secret"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with running_stand_in(key=KEY) as server:
        yield server


@pytest.fixture
def served(stand_in: StandIn, tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path / "data", stand_in.model("ollama"), model_key=KEY).start()
    yield running
    running.stop()


def send(service: Service, image: bytes, seconds: int, **options: str) -> dict[str, Any]:
    query = urlencode({"options": json.dumps(options)})
    status, job = service.post_image(image, query, Prefer=f"wait={seconds}")
    assert status in (201, 202), job
    return job


def test_jobs_are_captioned_by_the_server_and_wait_while_it_is_unavailable(served: Service, stand_in: StandIn) -> None:
    first = send(served, encoded(drawing("red")), 30, instruction="Name the colour.", language="de")
    question = stand_in.requests[-1]["messages"][0]["content"]
    stand_in.fault = lambda number: Fault.BUSY
    waiting = send(served, encoded(drawing("blue")), 2)
    wait_until(lambda: served.get("/readyz/captioning")[0] == 503, served.log)
    (worker,) = served.get("/v1/workers")[1]["workers"]
    notice = served.get("/v1/models")[1]["notice"]
    stand_in.fault = lambda number: None
    second = served.settled(waiting["id"])

    assert first["status"] == "succeeded" and first["output"]["caption"].startswith("A field of colour ")
    assert (first["model"]["name"], first["model"]["instructions"]) == ("vlm", True)
    assert question.startswith("Name the colour. Answer in German.")
    assert waiting["status"] in ("queued", "processing")
    assert worker["unavailable"] == "The model's server is busy."
    assert notice == "The model's server is busy. Pictures are accepted and wait."
    assert (second["status"], second["attempts"]) == ("succeeded", 1)
    # No client and no line of the log learns the server's address or key.
    shown = json.dumps([first, second, worker, notice, served.get("/v1/models")[1]]) + served.log()
    assert str(stand_in.server_port) not in shown and KEY not in shown


@pytest.mark.parametrize("command", ["caption", "batch"])
def test_a_command_without_the_service_asks_the_server(command: str, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.fault = lambda number: Fault.ERROR if number % 5 == 0 else None
    files = [tmp_path / f"{number}.png" for number in range(10)]
    for number, file in enumerate(files):
        file.write_bytes(encoded(drawing(f"rgb({20 * number}, 0, 0)"), "PNG"))
    environment = {**os.environ, "CAPTIOND_MODEL": stand_in.model(), "CAPTIOND_DATA": str(tmp_path / "data")}
    out = tmp_path / "captions.jsonl"
    arguments = [sys.executable, "-m", "cli.main", command, *map(str, files)]
    arguments += ["--out", str(out)] if command == "batch" else []

    refused = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    run = subprocess.run(arguments, env=environment | {"CAPTIOND_MODEL_KEY": KEY}, capture_output=True, text=True)

    assert refused.returncode == 1 and "The model's server refuses the key. Set CAPTIOND_MODEL_KEY." in refused.stderr
    assert run.returncode == 0, run.stderr
    captions = out.read_text() if command == "batch" else run.stdout
    assert captions.count("A field of colour ") == 10
