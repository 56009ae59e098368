"""A worker is killed three times while a manifest in S3 is captioned: the results are the same bytes as undisturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.manifest import KILLS, Run, caption, workers, write_shards
from tests.support.s3 import BUCKET, running_s3

PICTURES, CHUNKS = 5000, 5
#: Megabytes by which the memory of Redis and of a worker may grow while the manifest is captioned again.
MAX_GROWTH_REDIS, MAX_GROWTH_WORKER = 2, 60


def peak(run: Run) -> tuple[float, float]:
    """The most megabytes of Redis, and of any worker with its decoder processes."""
    return max(each.redis for each in run.samples), max(max(each.workers) for each in run.samples)


def test_a_manifest_survives_workers_killed_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3() as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        write_shards(tmp_path / "pictures", PICTURES)
        for path in (tmp_path / "pictures").iterdir():
            s3.put(f"photos/{path.name}", path.read_bytes())
        results_url = f"s3://{BUCKET}/results"
        with workers(tmp_path / "service", f"s3://{BUCKET}/photos", results_url=results_url) as running:
            runs = {
                output: caption(running, f"s3://{BUCKET}/photos/pictures-{{000000..000000}}.tar", output, kills)
                for output, kills in (("undisturbed", 0), ("killed", KILLS))
            }
        files = {output: s3.files(f"results/{output}/") for output in runs}

    assert runs["killed"].kills == KILLS
    for run in runs.values():
        manifest = run.batch["manifest"]
        assert manifest["chunks"] == {"total": CHUNKS, "done": CHUNKS, "failed": 0, "canceled": 0}
        assert manifest["pictures"] == {"captioned": PICTURES, "failed": 0}
    assert files["undisturbed"] == files["killed"]
    assert sorted(files["killed"]) == [f"part-{number:05}.jsonl" for number in range(CHUNKS)]
    assert sum(content.count(b"\n") for content in files["killed"].values()) == PICTURES
    (redis, worker), (redis_killed, worker_killed) = (peak(run) for run in runs.values())
    assert redis_killed - redis < MAX_GROWTH_REDIS
    assert worker_killed - worker < MAX_GROWTH_WORKER
