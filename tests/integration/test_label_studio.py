"""The real Label Studio gets captions of its own pictures as predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from common.settings import Settings
from tests.support.guide import blocks
from tests.support.images import numbered
from tests.support.keys import add_key
from tests.support.label_studio import LabelStudio, running_label_studio
from tests.support.service import Service, wait_until

pytestmark = pytest.mark.slow

(CONFIG,) = blocks("Label Studio", "xml")


@pytest.fixture(scope="module")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    with running_label_studio(tmp_path_factory.mktemp("label-studio")) as running:
        yield running


@pytest.fixture(scope="module")
def key(folder: Path) -> str:
    return add_key(Settings(data=folder), "label-studio")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the service."""
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def backend(label_studio: LabelStudio, folder: Path, key: str) -> Iterator[Service]:
    """A service with a key, and with a personal access token for Label Studio."""
    token = label_studio.request("POST", "/api/token/")["token"]
    settings = {"label_studio_url": label_studio.url, "label_studio_token": token}
    running = Service(folder, compat="label-studio", beams=1, **settings).start()
    yield running
    running.stop()


def test_uploaded_pictures_get_captions_and_scores(label_studio: LabelStudio, backend: Service, key: str) -> None:
    project = label_studio.create_project(CONFIG, [*numbered(3), b"no picture"])
    connected = label_studio.connect(project, f"{backend.url}/label-studio", key)
    assert connected["readable_state"] == "Connected"

    *captioned, broken = label_studio.retrieve_predictions(project)

    assert broken == []
    for (prediction,) in captioned:
        (region,) = prediction["result"]
        assert (region["from_name"], region["to_name"], region["type"]) == ("caption", "image", "textarea")
        assert len(region["value"]["text"][0].split()) >= 3
        assert 0 < prediction["score"] < 1
        assert prediction["model_version"] == connected["model_version"]


def test_tasks_that_wait_for_a_worker_get_their_captions_the_next_time(
    label_studio: LabelStudio, backend: Service, key: str
) -> None:
    project = label_studio.create_project(CONFIG, numbered(40)[::2])
    label_studio.connect(project, f"{backend.url}/label-studio", key)
    assert backend.process is not None
    (worker,) = [each for each in psutil.Process(backend.process.pid).children() if "celery" in each.cmdline()]
    worker.suspend()
    try:
        waiting = label_studio.retrieve_predictions(project)
    finally:
        worker.resume()
    assert not any(waiting[1:])  # the caption of the first picture is cached

    wait_until(backend.ready, backend.log)
    assert all(label_studio.retrieve_predictions(project))


def test_a_wrong_key_and_an_unsuitable_project_are_explained(
    label_studio: LabelStudio, backend: Service, key: str
) -> None:
    url = f"{backend.url}/label-studio"
    other = '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'

    with pytest.raises(requests.HTTPError, match="authentication parameters were either not provided or are incorrect"):
        label_studio.connect(label_studio.create_project(CONFIG, numbered(1)), url, "wrong")
    with pytest.raises(requests.HTTPError, match="The labelling configuration needs an Image, and a TextArea for it"):
        label_studio.connect(label_studio.create_project(other, []), url, key)
