"""Manifests are cut into chunks, by one worker after another if need be, or refused with the reason."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from common import problems
from common.jobs import BatchStatus
from common.ledger import Batches, Components
from common.manifest_records import ManifestStatus
from common.settings import Settings
from tests.support.clock import Clock
from tests.unit.worker.manifests.conftest import Finish, Send, manifest_of, results
from worker.leased import RETRY_DELAY
from worker.runtime import WorkerRuntime


def test_the_pictures_of_a_folder_are_listed_once(
    send: Send, finish: Finish, folder: Path, settings: Settings, runtime: WorkerRuntime
) -> None:
    (folder / "sub").mkdir()
    (folder / "0.png").rename(folder / "sub" / "0.png")
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / "._1.png").write_text("metadata of macOS", encoding="utf-8")
    (folder / "link.png").symlink_to(folder / "1.png")
    batch_id = send("")
    runtime.cut()
    (folder / "late.png").write_bytes((folder / "1.png").read_bytes())
    finish()

    rows = results(settings, batch_id)
    assert [row["custom_id"] for row in rows] == ["1.png", "2.png", "3.png", "sub/0.png"]
    assert all(row["caption"] for row in rows)


def test_a_manifest_that_is_a_link_is_refused(send: Send, finish: Finish, folder: Path, batches: Batches) -> None:
    (folder.parent / "outside.jsonl").write_text('"0.png"\n', encoding="utf-8")
    (folder / "m.jsonl").symlink_to(folder.parent / "outside.jsonl")
    batch_id = send("m.jsonl")
    finish()

    error = manifest_of(batches.get(batch_id)).error
    assert error and error.type == problems.URL_NOT_ALLOWED.type


@pytest.mark.parametrize("name", ["missing.jsonl", "missing/", "missing-{0..3}.tar"])
def test_a_missing_manifest_ends_its_batch_with_the_reason(
    name: str, send: Send, finish: Finish, batches: Batches
) -> None:
    batch_id = send(name)
    finish()

    batch = batches.get(batch_id)
    assert (batch.status, manifest_of(batch).status) == (BatchStatus.COMPLETED, ManifestStatus.FAILED)
    assert manifest_of(batch).error.type == problems.BAD_MANIFEST.type


def test_a_compressed_tar_file_is_refused(send: Send, finish: Finish, folder: Path, batches: Batches) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        tar.add(folder / "0.png", "0.png")
    (folder / "compressed.tar").write_bytes(data.getvalue())
    batch_id = send("compressed.tar")
    finish()

    assert manifest_of(batches.get(batch_id)).error.type == problems.BAD_MANIFEST.type


def test_a_manifest_is_cut_on_by_another_worker(
    send: Send,
    runtime: WorkerRuntime,
    finish: Finish,
    manifest: str,
    settings: Settings,
    components: Components,
    clock: Clock,
) -> None:
    batch_id = send(manifest)
    killed = components.manifests.claim()
    assert killed
    span = {"file": killed.url, "start": 0, "end": 24}
    components.manifests.add_chunk(killed, 0, span, {"file": killed.url, "start": 24})
    clock.advance(31)
    finish()

    assert [row["file_name"] for row in results(settings, batch_id)][:4] == [f"{number}.png" for number in range(4)]
    assert len(results(settings, batch_id)) == 6


def test_a_store_that_is_away_postpones_the_cutting(
    send: Send, runtime: WorkerRuntime, finish: Finish, manifest: str, folder: Path, settings: Settings, clock: Clock
) -> None:
    batch_id = send(manifest)
    folder.rename(folder.parent / "away")
    runtime.cut()
    (folder.parent / "away").rename(folder)
    clock.advance(RETRY_DELAY)
    finish()

    assert len(results(settings, batch_id)) == 6
