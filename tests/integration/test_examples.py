"""The examples of docs/api.md and docs/integrations.md, run against the real service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import playwright
import pytest

from common.settings import COMPAT_PROTOCOLS, PROJECT_ROOT
from tests.support.archives import zipped
from tests.support.images import numbered
from tests.support.receiver import Receiver, running_receiver, with_status
from tests.support.service import Service

GUIDES = {name: (PROJECT_ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("api.md", "integrations.md")}
#: The command that runs an example from standard input, by the language of its block. Playwright's wheel has a Node.js.
COMMANDS = {
    "sh": ["bash", "-euo", "pipefail"],
    "python": [sys.executable, "-W", "error", "-"],
    "js": [str(Path(playwright.__file__).parent / "driver" / "node"), "--input-type=module", "-"],
}
#: Languages of blocks that show an answer, or the configuration of other software.
NOT_RUN = {"json", "xml", "yaml"}
BLOCKS = [
    (name, *block)
    for name, guide in GUIDES.items()
    for block in re.findall(r"^```(\w*)\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
]
EXAMPLES = [
    pytest.param(language, code, id=f"{name}-{number}-{language}")
    for number, (name, language, code) in enumerate(BLOCKS)
    if language not in NOT_RUN and "captiond serve" not in code
]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Stands for `https://example.com`: it has an image and accepts webhooks."""
    with running_receiver(with_status(200, numbered(1)[0], Content_Type="image/jpeg")) as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that accepts image URLs and webhooks of this machine, and manifests in a folder."""
    folder = tmp_path_factory.mktemp("service")
    running = Service(
        folder,
        fetch_urls=True,
        allow_local_urls=True,
        manifest_roots=str(folder / "photos"),
        compat=",".join(COMPAT_PROTOCOLS),
    ).start()
    yield running
    running.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the examples send, and a configuration with which curl fails on HTTP errors."""
    first, second, third = numbered(3)
    (tmp_path / "photos" / "summer").mkdir(parents=True)
    images = {"photo.jpg": first, "a.jpg": second, "b.jpg": third}
    files = {**images, "photos/summer/c.jpg": first, "photos/bad.jpg": b"text"}
    curlrc = b"fail-with-body\nsilent\nshow-error\n"
    for name, data in {**files, "photos.zip": zipped(files), ".curlrc": curlrc}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_every_example_is_in_a_language_that_is_run_and_none_is_missing() -> None:
    assert {language for _, language, _ in BLOCKS} == set(COMMANDS) | NOT_RUN
    fences = [fence for guide in GUIDES.values() for fence in re.findall(r"^\s*(?:```|~~~)", guide, re.MULTILINE)]
    assert len(fences) == 2 * len(BLOCKS)


@pytest.mark.parametrize(("language", "code"), EXAMPLES)
def test_an_example_of_the_guides_succeeds(
    service: Service, receiver: Receiver, folder: Path, language: str, code: str
) -> None:
    hosts = {"http://127.0.0.1:8080": service.url, "https://captions.example": service.url}
    stores = {"https://example.com": receiver.url(""), "s3://photos": f"file://{service.data}/photos"}
    for host, replacement in {**hosts, **stores}.items():
        code = code.replace(host, replacement)

    done = subprocess.run(
        COMMANDS[language],
        input=code,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "CURL_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, code + done.stdout + done.stderr
    assert "https://" not in code, "An example must reach no other machine."
