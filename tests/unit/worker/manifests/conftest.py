"""Fixtures: a folder of pictures that manifests may name, and batches of manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.jobs import Batch, new_id
from common.ledger import Batches, Components, NewBatch, NewManifest
from common.manifest_records import ResultFormat
from common.options import CaptionOptions
from common.settings import Settings
from tests.support.images import drawing, encoded
from worker.runtime import WorkerRuntime

#: A picture of each width; the fake captioner says the width.
WIDTHS = (40, 41, 42, 43)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The root of manifests, with the pictures `0.png`, `1.png` and so on of `WIDTHS`."""
    (tmp_path / "pictures").mkdir()
    for number, width in enumerate(WIDTHS):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(encoded(drawing(size=(width, 30)), "PNG"))
    return tmp_path / "pictures"


@pytest.fixture
def settings(tmp_path: Path, folder: Path) -> Settings:
    return Settings(
        data=tmp_path,
        broker_url="memory://",
        lease_seconds=30,
        max_attempts=3,
        retention=1000,
        max_batch=2,
        max_upload_bytes=10_000,
        manifest_roots=str(folder),
    )


@pytest.fixture
def manifest(folder: Path) -> str:
    """A manifest with each picture of the folder, one that is missing, and one that is no picture."""
    names = [*(f"{number}.png" for number in range(len(WIDTHS))), "missing.png", "manifest.jsonl"]
    (folder / "manifest.jsonl").write_text("".join(f"{json.dumps(name)}\n" for name in names), encoding="utf-8")
    return "manifest.jsonl"


@pytest.fixture
def batches(components: Components) -> Batches:
    return components.batches


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.manifests.cutter.CHUNK_SIZE", 3)


Send = Callable[..., str]
Finish = Callable[[], None]


@pytest.fixture
def send(batches: Batches, settings: Settings, folder: Path) -> Send:
    """Records a batch for a manifest below the folder, as the web tier does; returns its id."""

    def create(
        name: str, format: str = "jsonl", options: CaptionOptions | None = None, output: str | None = None
    ) -> str:
        batch = new_id()
        results = f"{settings.results_location}/{output or batch}"
        manifest = NewManifest(f"file://{folder}/{name}", results, ResultFormat(format))
        batches.create(batch, NewBatch(manifest=manifest, options=options))
        return batch

    return create


@pytest.fixture
def finish(runtime: WorkerRuntime) -> Finish:
    """Cuts the manifests and captions their chunks."""

    def run() -> None:
        runtime.cut()
        runtime.caption_chunks()

    return run


def results(settings: Settings, batch: str) -> list[dict[str, Any]]:
    """The rows of all files of results in JSON lines."""
    files = sorted((settings.data / "results" / batch).glob("part-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def manifest_of(batch: Batch) -> Any:
    """The manifest of a batch, which must have one."""
    assert batch.manifest is not None
    return batch.manifest
