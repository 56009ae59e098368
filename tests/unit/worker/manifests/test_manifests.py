"""Batches of manifests: each picture gets a row in a file of results, and nothing else is read."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from redis import Redis

from common import problems
from common.jobs import BatchStatus
from common.ledger import Batches
from common.manifest_records import ManifestStatus
from common.options import CaptionOptions
from common.settings import Settings
from tests.unit.worker.fakes import MODEL, OTHER_MODEL, FakeCaptioner
from tests.unit.worker.manifests.conftest import WIDTHS, Finish, Send, manifest_of, results


def test_each_picture_of_a_manifest_gets_a_row_in_its_order(
    send: Send, finish: Finish, manifest: str, batches: Batches, settings: Settings
) -> None:
    batch_id = send(manifest)
    before = batches.get(batch_id)
    finish()

    after, rows = batches.get(batch_id), results(settings, batch_id)
    assert (before.status, manifest_of(before).status) == (BatchStatus.IN_PROGRESS, ManifestStatus.WAITING)
    assert (after.status, manifest_of(after).status) == (BatchStatus.COMPLETED, ManifestStatus.DONE)
    assert manifest_of(after).chunks.model_dump() == {"total": 2, "done": 2, "failed": 0, "canceled": 0}
    assert manifest_of(after).pictures.model_dump() == {"captioned": 4, "failed": 2}
    assert [row["caption"] for row in rows] == [*(f"{width} wide" for width in WIDTHS), None, None]
    assert rows[0] == {
        "custom_id": "0.png",
        "file_name": "0.png",
        "status": "succeeded",
        "caption": "40 wide",
        "score": -1.0,
        "confidence": None,
        "unsure": None,
        "translated": None,
        "model": MODEL.name,
        "error": None,
    }
    assert [row["model"] for row in rows[4:]] == [None, None]
    assert [row["error"]["type"] for row in rows[4:]] == ["/problems/file-unreadable", "/problems/unsupported-image"]


def test_a_manifest_that_asks_for_another_model_is_cut_and_waits_for_a_worker_with_it(
    send: Send, finish: Finish, manifest: str, batches: Batches
) -> None:
    other = send(manifest, options=CaptionOptions(model=OTHER_MODEL))
    own = send(manifest, options=CaptionOptions(model=MODEL.name))
    finish()

    assert manifest_of(batches.get(other)).chunks.model_dump() == {"total": 2, "done": 0, "failed": 0, "canceled": 0}
    assert manifest_of(batches.get(own)).chunks.done == 2


def test_the_results_are_the_same_bytes_whoever_writes_them(
    send: Send, finish: Finish, manifest: str, settings: Settings
) -> None:
    batch_ids = [send(manifest, output=output) for output in ("once", "again", "again")]
    finish()

    once, again = (
        {path.name: path.read_bytes() for path in (settings.data / "results" / output).iterdir()}
        for output in ("once", "again")
    )
    assert once == again and sorted(once) == ["part-00000.jsonl", "part-00001.jsonl"]
    assert not any(batch_id.encode() in content for batch_id in batch_ids for content in once.values())


def test_results_can_be_tables(
    send: Send, finish: Finish, manifest: str, settings: Settings, captioner: FakeCaptioner
) -> None:
    first, second = send(manifest), send(manifest, format="parquet")
    finish()

    folder = settings.data / "results" / second
    tables = pyarrow.concat_tables(parquet.read_table(path) for path in sorted(folder.iterdir()))
    assert sorted(path.name for path in folder.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]
    assert tables.to_pylist() == results(settings, first)


def test_captions_are_as_the_batch_s_options_ask(
    send: Send, finish: Finish, manifest: str, settings: Settings, captioner: FakeCaptioner
) -> None:
    batch_id = send(manifest, options=CaptionOptions(template="a photo: {caption}", beams=2))
    finish()

    assert results(settings, batch_id)[0]["caption"] == "a photo: 40 wide"
    assert {search.beams for search in captioner.searches if search} == {2}


def test_shards_of_a_webdataset_are_read_by_a_range_of_numbers_or_as_a_folder(
    send: Send, finish: Finish, folder: Path, settings: Settings
) -> None:
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "shards" / f"all-{shard:03}.tar", "w") as tar:
            for number in (2 * shard, 2 * shard + 1):
                tar.add(folder / f"{number}.png", f"{number:05}.png")
    batch_ids = send("shards/all-{000..001}.tar"), send("shards/")
    finish()

    first, second = (results(settings, batch_id) for batch_id in batch_ids)
    assert first == second
    assert [(row["custom_id"], row["caption"]) for row in first] == [
        (f"{number:05}", f"{width} wide") for number, width in enumerate(WIDTHS)
    ]


def test_pictures_in_a_table_are_captioned(send: Send, finish: Finish, folder: Path, settings: Settings) -> None:
    images = [{"bytes": (folder / "0.png").read_bytes(), "path": "a.png"}, {"bytes": b"x" * 10_001, "path": "b.png"}]
    parquet.write_table(pyarrow.table({"image": images}), folder / "m.parquet")
    batch_id = send("m.parquet")
    finish()

    first, large = results(settings, batch_id)
    assert (first["custom_id"], first["caption"]) == ("a.png", "40 wide")
    assert large["error"]["type"] == problems.UPLOAD_TOO_LARGE.type


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "sub/../../secret.png", "/etc/hostname", "file:///etc/hostname", "s3://bucket/a.png",
     "https://example.com/a.png", "simplecache::file:///etc/hostname", "link.png", "linked/secret.png", "fifo.png"],
)  # fmt: skip
def test_nothing_outside_the_roots_is_read(
    name: str, send: Send, finish: Finish, folder: Path, settings: Settings
) -> None:
    secret = folder.parent / "secret.png"
    secret.write_bytes((folder / "0.png").read_bytes())
    (folder / "link.png").symlink_to(secret)
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "fifo.png")
    (folder / "m.jsonl").write_text(json.dumps({"url": name}), encoding="utf-8")
    batch_id = send("m.jsonl")
    finish()

    (row,) = results(settings, batch_id)
    assert row["error"]["type"] == problems.URL_NOT_ALLOWED.type


def test_redis_holds_nothing_of_each_picture(
    send: Send, finish: Finish, folder: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.manifests.cutter.CHUNK_SIZE", 100)
    (folder / "m.jsonl").write_text('"0.png"\n' * 100, encoding="utf-8")
    batch_id = send("m.jsonl")
    finish()

    assert [key for key in redis.scan_iter() if batch_id in key and "/" in key] == [f"chunk:{batch_id}/0"]
    assert not [key for key in redis.scan_iter() if key.startswith(("job:", "caption:"))]
