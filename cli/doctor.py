"""`captiond doctor`: checks Redis, disk, model and queue, and says how to fix what is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator

from redis import RedisError

from cli.durability import check_durability
from cli.findings import Finding
from cli.redis_server import running_url
from common import exposure, folders
from common.jobs import Status
from common.keyring import Keyring
from common.ledger import Components, UnreferencedUploads, connect
from common.settings import PROJECT_ROOT, Settings
from common.uploads import FOLDERS, UploadStore, UploadsUnavailable

#: Free disk space below which the disk check fails, in bytes.
MIN_FREE_DISK = 2**30
#: Waiting time of the oldest job above which the queue check fails, in seconds.
MAX_WAIT = 300.0
#: Age in seconds below which an upload without a record is ignored: its record may still be being written.
UPLOAD_GRACE_PERIOD = 3600.0
PACKAGES = ("captiond", "torch", "transformers", "celery", "redis", "flask", "pillow")


def doctor(settings: Settings) -> int:
    """Run all checks and print their findings. Return 1 when one failed, else 0."""
    findings = [*check_machine(settings), *check_redis(settings)]
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.subject:<9} {finding.message}")
    return int(not all(finding.ok for finding in findings))


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Check this machine: versions, data folder, disk, access and model files."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield Finding("versions", True, f"Python {platform.python_version()}, {versions}")
    obstacle = folders.write_obstacle(settings.data)
    message = (
        str(folders.data_folder_error(settings, obstacle))
        if obstacle
        else f"{settings.data.absolute()} can be written."
    )
    yield Finding("data", obstacle is None, message)
    folder = next(
        path for path in (settings.data.absolute(), *settings.data.absolute().parents) if os.path.exists(path)
    )
    free = shutil.disk_usage(folder).free
    advice = "" if free > MIN_FREE_DISK else " Free some space, or uploads will be refused with 507."
    yield Finding("disk", free > MIN_FREE_DISK, f"{free / 1e9:.1f} GB free in {folder}.{advice}")
    yield check_access(settings)
    if settings.model != "auto":
        yield Finding("model", True, f"CAPTIOND_MODEL names {settings.model}.")
    elif (PROJECT_ROOT / "student_epoch6.pt").exists():
        yield Finding("model", True, "student_epoch6.pt is in the project's root.")
    else:
        downloaded = (settings.data / "models" / "student_epoch6.pt").exists()
        state = "was downloaded." if downloaded else "is missing; without it, the service uses the small demo model."
        yield Finding("model", True, f"student_epoch6.pt {state}")


def check_access(settings: Settings) -> Finding:
    """Check who can use the service: key holders, this machine only, or the network."""
    if (refusal := exposure.refusal(settings)) is not None:
        return Finding("access", False, refusal)
    if Keyring(settings).needed:
        return Finding("access", True, "only with an API key; captiond keys list shows the keys.")
    if exposure.is_loopback(settings.host):
        return Finding("access", True, "this machine only, without keys.")
    return Finding(
        "access", True, f"anyone who can reach {settings.host}, because of --insecure; add API keys to restrict it."
    )


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Check that Redis answers and is durable, then the workers, the queue and the uploads."""
    redis = connect(running_url(settings))
    try:
        redis.ping()
    except RedisError as error:
        message = f"does not answer ({error}). Start the service with captiond serve, or set CAPTIOND_REDIS_URL."
        yield Finding("redis", False, message)
        return
    yield from check_durability(redis)
    components = Components(redis, settings)
    yield from _queue(components, settings)
    yield _unreferenced(components.unreferenced, settings)


def _queue(components: Components, settings: Settings) -> Iterator[Finding]:
    ledger = components.ledger
    now = ledger.now()
    workers = components.workers.alive()
    names = ", ".join(f"{worker.name} with {worker.model.name}" for worker in workers)
    message = names or "none is running. Start one with captiond serve or celery -A worker worker."
    yield Finding("workers", bool(workers), message)
    counts = ledger.counts()
    yield Finding("jobs", True, ", ".join(f"{count} {status.value}" for status, count in counts.items()))
    oldest = ledger.oldest(Status.QUEUED)
    waited = now - oldest.created_at.timestamp() if oldest else 0.0
    stuck = waited > MAX_WAIT
    message = f"the oldest job, {oldest.id}, has waited for {waited:.0f} s." if oldest else "no job waits."
    advice = " Start more workers, or read the worker's log." if stuck else ""
    yield Finding("waiting", not stuck, message + advice)
    held, overdue = counts[Status.PROCESSING], ledger.overdue(settings.lease_seconds)
    message = f"{held} jobs are held by workers, {len(overdue)} of them longer than their lease"
    if overdue:
        message += f" (the oldest is {overdue[0]}). A running worker requeues them within a second: read its log."
    yield Finding("leases", not overdue, message.rstrip(".") + ".")
    webhooks = components.outbox.status()
    last = f"; the last to {webhooks.last}" if webhooks.last else ""
    yield Finding("webhooks", True, f"{webhooks.waiting} to be delivered, {webhooks.given_up} given up{last}.")


def _unreferenced(unreferenced: UnreferencedUploads, settings: Settings) -> Finding:
    uploads = UploadStore(settings.uploads_location)
    stored = orphaned = 0
    for folder in range(FOLDERS):
        try:
            files = uploads.list_files(folder)
        except UploadsUnavailable as error:
            return Finding("pictures", False, f"The upload store does not answer: {error.__cause__}.")
        stored += len(files)
        orphaned += len(unreferenced.select({job_id for job_id, _ in files}, UPLOAD_GRACE_PERIOD))
    if not orphaned:
        return Finding("pictures", True, f"{stored} are stored, each with its job record.")
    # A killed web server leaves a few. When most have no record, the settings probably name the wrong Redis.
    ok = 2 * orphaned < stored
    advice = "The recovery deletes them after CAPTIOND_RETENTION."
    if not ok:
        advice = (
            "Does CAPTIOND_REDIS_URL name the Redis that has their records? If so, its data was lost: restore a backup"
            " before CAPTIOND_RETENTION is over."
        )
    return Finding("pictures", ok, f"{stored} are stored, {orphaned} of them without a job record. {advice}")
