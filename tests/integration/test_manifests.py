"""A manifest through the whole service: pictures and results in S3, captioned by a real worker with the demo model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import numbered
from tests.support.s3 import BUCKET, S3, running_s3
from tests.support.service import Service

pytestmark = pytest.mark.slow

ROOT = f"s3://{BUCKET}/photos"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with running_s3() as running, pytest.MonkeyPatch.context() as patched:
        for name, value in running.environment.items():
            patched.setenv(name, value)
        for number, data in enumerate(numbered(5)):
            running.put(f"photos/holidays/{number}.jpg", data)
        running.put("photos/holidays/empty.jpg", b"")
        running.put("photos/holidays/text.jpg", b"no picture")
        running.put("private/secret.jpg", numbered(1)[0])
        yield running


@pytest.fixture(scope="module")
def store_service(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = Path(tmp_path_factory.mktemp("manifests"))
    running = Service(folder, manifest_roots=ROOT, results_url=f"s3://{BUCKET}/results").start()
    yield running
    running.stop()


def run(service: Service, manifest: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "batch", "--manifest", manifest, "--url", service.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def rows(s3: S3, output: str) -> list[dict[str, object]]:
    files = s3.files(f"{output.strip().removeprefix(f's3://{BUCKET}/')}/part-")
    return [json.loads(line) for name in sorted(files) for line in files[name].decode().splitlines()]


def test_the_pictures_below_a_prefix_are_captioned(store_service: Service, s3: S3) -> None:
    done = run(store_service, f"{ROOT}/holidays/")

    found = rows(s3, done.stdout)
    assert [row["file_name"] for row in found] == [*(f"{number}.jpg" for number in range(5)), "empty.jpg", "text.jpg"]
    assert all(len(str(row["caption"]).split()) >= 3 and row["confidence"] for row in found[:5])
    assert [row["error"]["type"] for row in found[5:]] == [  # type: ignore[index]
        "/problems/empty-upload", "/problems/unsupported-image"
    ]  # fmt: skip
    assert done.returncode == 1 and "5 captioned, 2 failed" in done.stderr


def test_a_manifest_names_pictures_of_its_root_only(store_service: Service, s3: S3) -> None:
    names = ["holidays/0.jpg", f"{ROOT}/holidays/1.jpg", f"s3://{BUCKET}/private/secret.jpg", "holidays/none.jpg"]
    s3.put("photos/all.jsonl", "\n".join(json.dumps({"url": name}) for name in names).encode())
    done = run(store_service, f"{ROOT}/all.jsonl")

    errors = [row["error"] and row["error"]["type"] for row in rows(s3, done.stdout)]  # type: ignore[index]
    assert errors == [None, None, "/problems/url-not-allowed", "/problems/file-unreadable"]
