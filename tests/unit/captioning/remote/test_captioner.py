"""The captioner of a server's model: what it sends, what it says about itself, and that it needs no torch."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from captioning.captioner import Captioner, ModelUnavailable, load_captioner, require_server
from captioning.errors import StudentError
from captioning.stream import caption_stream
from common import problems
from common.jobs import ModelInfo, Output
from common.options import CaptionOptions, SearchOptions
from common.problems import Problem
from common.settings import PROJECT_ROOT, Settings
from tests.support.images import drawing, encoded
from tests.support.model_server import Fault, StandIn, describe, running_stand_in

KEY = "sk-secret"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with running_stand_in(key=KEY) as server:
        yield server


@pytest.fixture
def settings(stand_in: StandIn, tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, model=stand_in.model(), model_key=KEY, max_batch=4)


@pytest.fixture
def captioner(settings: Settings) -> Captioner:
    captioner = load_captioner(settings)
    require_server(captioner)
    return captioner


def test_its_model_is_named_without_url_and_key(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    captioner = load_captioner(settings)

    model = captioner.model
    assert model == ModelInfo(name="vlm", version=model.version, instructions=True)
    assert model.version.startswith("sha256:")
    assert (captioner.device, captioner.precision) == ("server", "")
    assert caplog.messages == ["Captioning with vlm, which a server runs."]


def test_the_version_is_that_of_protocol_and_name() -> None:
    models = ["openai:http://a:1/v1#x", "openai:http://b:2/v1#x", "ollama:http://a:1#x", "openai:http://a:1/v1#y"]

    versions = [load_captioner(Settings(model=model)).model.version for model in models]

    assert versions[0] == versions[1] and len(set(versions)) == 3


def test_a_picture_is_sent_as_a_jpeg_of_bounded_size(captioner: Captioner) -> None:
    data = captioner.prepare(encoded(drawing(size=(3000, 1500)), "PNG"))

    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (1024, 512))


def test_a_file_that_is_no_picture_is_refused(captioner: Captioner) -> None:
    with pytest.raises(Problem):
        captioner.prepare(b"no picture")


def test_a_job_s_options_reach_the_model(captioner: Captioner, settings: Settings, stand_in: StandIn) -> None:
    image = captioner.prepare(encoded())
    search = SearchOptions.of(settings, CaptionOptions(instruction="Count.", language="de"))

    (output,) = captioner.caption([image], search)

    assert output == Output(caption=describe(image))
    (content, _image) = stand_in.requests[-1]["messages"][0]["content"]
    assert content["text"].startswith("Count. Answer in German. Use at most 22 words.")


def test_a_picture_without_a_usable_caption_has_a_problem(captioner: Captioner, stand_in: StandIn) -> None:
    own_picture = 5  # the first request was about it, too, and three tries come before the next
    stand_in.fault = lambda number: None if number == own_picture else Fault.EMPTY
    image = captioner.prepare(encoded())
    captioner.server._wait = lambda event, seconds: None  # type: ignore[union-attr]
    (problem,) = captioner.caption([image])

    assert isinstance(problem, Problem) and problem.kind is problems.CAPTION_FAILED


def test_it_needs_no_torch() -> None:
    code = (
        "import sys, worker.runtime, worker.tasks; from captioning.captioner import load_captioner; "
        "from common.settings import Settings; load_captioner(Settings(model='ollama:http://localhost:11434#llava')); "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"


class TestStream:
    def test_several_pictures_are_asked_for_at_a_time(self, captioner: Captioner, stand_in: StandIn) -> None:
        images = [encoded(drawing(f"rgb({level}, 0, 0)")) for level in range(0, 250, 25)]

        results = list(caption_stream(captioner, images, bytes, 4))

        expected = [Output(caption=describe(captioner.prepare(image))) for image in images]
        assert [result for _image, result in results] == expected

    def test_a_picture_waits_for_a_server_that_is_busy(
        self, captioner: Captioner, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("captioning.stream.OUTAGE_INTERVAL", 0.01)
        stand_in.fault = lambda number: Fault.BUSY if number == 2 else None

        ((_image, result),) = caption_stream(captioner, [encoded()], bytes, 4)

        assert isinstance(result, Output)
        assert stand_in.counts[Fault.BUSY] == 1

    def test_it_ends_with_the_reason_after_a_long_outage(
        self, captioner: Captioner, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("captioning.stream.OUTAGE_INTERVAL", 0.01)
        stand_in.key = "another"

        with pytest.raises(ModelUnavailable, match="refuses the key"):
            list(caption_stream(captioner, [encoded()], bytes, 4, patience=0.0))

    def test_leaving_it_early_ends_the_pictures_that_wait(self, captioner: Captioner, stand_in: StandIn) -> None:
        stream = caption_stream(captioner, [encoded(drawing("red")), *[encoded(drawing("blue"))] * 7], bytes, 4)
        next(stream)
        stand_in.fault = lambda number: Fault.BUSY
        started = time.monotonic()
        stream.close()  # type: ignore[attr-defined]

        assert time.monotonic() - started < 10


def test_a_server_that_cannot_caption_at_first_is_an_error(settings: Settings) -> None:
    captioner = load_captioner(settings.model_copy(update={"model_key": None}))

    with pytest.raises(StudentError, match="refuses the key"):
        require_server(captioner)
