"""`captiond doctor`: looks at Redis, disk, model and queue, and says in plain words what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator

from redis import RedisError

from cli.durability import look_at_durability
from cli.findings import Finding
from cli.redis_server import running_url
from common import exposure, folders
from common.jobs import Status
from common.keyring import Keyring
from common.ledger import Components, UnreferencedUploads, connect
from common.settings import PROJECT_ROOT, Settings
from common.uploads import FOLDERS, UploadStore, UploadsUnavailable

#: Less free disk than this is worth a word, in bytes.
LOW_DISK = 2**30
#: A job that has waited for this long is worth a word, in seconds.
LONG_WAIT = 300.0
#: A picture without a record may still be on its way to one for so long, in seconds.
ON_ITS_WAY = 3600.0
PACKAGES = ("captiond", "torch", "transformers", "celery", "redis", "flask", "pillow")


def doctor(settings: Settings) -> int:
    """Print the findings; 1 when something needs attention."""
    findings = [*look_around(settings), *look_at_redis(settings)]
    for finding in findings:
        print(f"{'ok  ' if finding.well else 'LOOK'}  {finding.subject:<9} {finding.words}")
    return int(not all(finding.well for finding in findings))


def look_around(settings: Settings) -> Iterator[Finding]:
    """This machine: versions, disk, model files."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield Finding("versions", True, f"Python {platform.python_version()}, {versions}")
    why = folders.write_obstacle(settings.data)
    words = str(folders.data_folder_error(settings, why)) if why else f"{settings.data.absolute()} can be written."
    yield Finding("data", why is None, words)
    folder = next(
        path for path in (settings.data.absolute(), *settings.data.absolute().parents) if os.path.exists(path)
    )
    free = shutil.disk_usage(folder).free
    advice = "" if free > LOW_DISK else " Make room, or uploads will be refused with 507."
    yield Finding("disk", free > LOW_DISK, f"{free / 1e9:.1f} GB free in {folder}.{advice}")
    yield access(settings)
    if settings.model != "auto":
        yield Finding("model", True, f"CAPTIOND_MODEL names {settings.model}.")
    elif (PROJECT_ROOT / "student_epoch6.pt").exists():
        yield Finding("model", True, "student_epoch6.pt is in the project's root.")
    else:
        fetched = (settings.data / "models" / "student_epoch6.pt").exists()
        words = "was fetched." if fetched else "is not here; without it, the small demo model captions."
        yield Finding("model", True, f"student_epoch6.pt {words}")


def access(settings: Settings) -> Finding:
    """Who may use the service."""
    if (why := exposure.refusal(settings)) is not None:
        return Finding("access", False, why)
    if Keyring(settings).needed:
        return Finding("access", True, "only with an API key; captiond keys list shows them.")
    if exposure.is_loopback(settings.host):
        return Finding("access", True, "this machine only, without keys.")
    return Finding("access", True, f"whoever reaches {settings.host}, as --insecure says; keys would change that.")


def look_at_redis(settings: Settings) -> Iterator[Finding]:
    """The ledger: reachable, durable, and what stands in it."""
    redis = connect(running_url(settings))
    try:
        redis.ping()
    except RedisError as error:
        words = f"does not answer ({error}). Start the service with captiond serve, or set CAPTIOND_REDIS_URL."
        yield Finding("redis", False, words)
        return
    yield from look_at_durability(redis)
    components = Components(redis, settings)
    yield from _queue(components, settings)
    yield _unreferenced(components.unreferenced, settings)


def _queue(components: Components, settings: Settings) -> Iterator[Finding]:
    ledger = components.ledger
    now = ledger.now()
    workers = components.workers.alive()
    heard = ", ".join(f"{worker.name} with {worker.model.name}" for worker in workers)
    words = heard or "none is heard. Start one with captiond serve or celery -A worker worker."
    yield Finding("workers", bool(workers), words)
    counts = ledger.counts()
    yield Finding("jobs", True, ", ".join(f"{count} {status.value}" for status, count in counts.items()))
    oldest = ledger.oldest(Status.QUEUED)
    waited = now - oldest.created_at.timestamp() if oldest else 0.0
    stuck = waited > LONG_WAIT
    words = f"the oldest, {oldest.id}, has waited for {waited:.0f} s." if oldest else "none waits."
    advice = " Start more workers, or look at the worker's log." if stuck else ""
    yield Finding("waiting", not stuck, words + advice)
    held, overdue = counts[Status.PROCESSING], ledger.overdue(settings.lease_seconds)
    words = f"{held} are held by workers, {len(overdue)} of them longer than their lease"
    if overdue:
        words += f" (the oldest is {overdue[0]}). A living worker takes them back within a second: look at its log."
    yield Finding("leases", not overdue, words.rstrip(".") + ".")
    webhooks = components.outbox.standing()
    last = f"; the last to {webhooks.last}" if webhooks.last else ""
    yield Finding("webhooks", True, f"{webhooks.waiting} to be delivered, {webhooks.given_up} given up{last}.")


def _unreferenced(unreferenced: UnreferencedUploads, settings: Settings) -> Finding:
    uploads = UploadStore(settings.uploads_location)
    kept = lost = 0
    for folder in range(FOLDERS):
        try:
            files = uploads.list_files(folder)
        except UploadsUnavailable as error:
            return Finding("pictures", False, f"The store of the uploaded pictures does not answer: {error.__cause__}.")
        kept += len(files)
        lost += len(unreferenced.among({job_id for job_id, _ in files}, ON_ITS_WAY))
    if not lost:
        return Finding("pictures", True, f"{kept} are kept, each with its record.")
    # A few are what a killed web server leaves; most of them are a sign of the wrong Redis.
    well = 2 * lost < kept
    advice = "The recovery deletes them when CAPTIOND_RETENTION is over."
    if not well:
        advice = "Is CAPTIOND_REDIS_URL the Redis they belong to? If so, it lost its records: restore them in time."
    return Finding("pictures", well, f"{kept} are kept, {lost} of them without a record. {advice}")
