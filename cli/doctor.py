"""`captiond doctor`: checks Redis, disk, model and queue, and says how to fix what is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator

from redis import RedisError

from captioning.remote.server import Server
from cli.durability import check_durability
from cli.findings import Finding
from cli.output import local
from cli.redis_server import running_url
from common import exposure, folders
from common.jobs import Status
from common.ledger import Components, UnreferencedUploads, connect
from common.ledger.workers import outage
from common.options import model_of
from common.served_model import ServedModel
from common.settings import PROJECT_ROOT, Settings
from common.translation import Message, _
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
        print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.subject:<9} {local(finding.message)}")
    return int(not all(finding.ok for finding in findings))


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Check this machine: versions, data folder, disk, access and model files."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield Finding("versions", True, Message(f"Python {platform.python_version()}, {versions}"))
    obstacle = folders.write_obstacle(settings.data)
    if obstacle:
        yield Finding("data", False, folders.data_folder_error(settings, obstacle).args[0])
    else:
        yield Finding("data", True, _("{folder} can be written.", folder=settings.data.absolute()))
    folder = next(
        path for path in (settings.data.absolute(), *settings.data.absolute().parents) if os.path.exists(path)
    )
    free = shutil.disk_usage(folder).free
    gigabytes = round(free / 1e9, 1)
    if free > MIN_FREE_DISK:
        yield Finding("disk", True, _("{gigabytes} GB free in {folder}.", gigabytes=gigabytes, folder=folder))
    else:
        yield Finding(
            "disk",
            False,
            _(
                "{gigabytes} GB free in {folder}. Free some space, or uploads will be refused with 507.",
                gigabytes=gigabytes,
                folder=folder,
            ),
        )
    yield check_access(settings)
    if settings.served_model:
        yield check_model_server(settings.served_model, settings)
    elif settings.model != "auto":
        yield Finding("model", True, _("CAPTIOND_MODEL names {model}.", model=settings.model))
    elif (PROJECT_ROOT / "student_epoch6.pt").exists():
        yield Finding("model", True, _("student_epoch6.pt is in the project's root."))
    elif (settings.data / "models" / "student_epoch6.pt").exists():
        yield Finding("model", True, _("student_epoch6.pt was downloaded."))
    else:
        yield Finding(
            "model",
            True,
            _(
                "student_epoch6.pt is missing, so the small demo model is used. Place the file in {folder}, or set "
                "CAPTIOND_MODEL.",
                folder=PROJECT_ROOT,
            ),
        )


def check_model_server(model: ServedModel, settings: Settings) -> Finding:
    """Check that the server of the model describes a picture."""
    server = Server(model, settings.model_key)
    server.check()
    if reason := server.unavailable:
        return Finding("model", False, reason)
    return Finding("model", True, _("{model} captions at its server.", model=model.name))


def check_access(settings: Settings) -> Finding:
    """Check who can use the service: key holders, this machine only, or the network."""
    if (refusal := exposure.refusal(settings)) is not None:
        return Finding("access", False, refusal)
    if exposure.configured_keyring(settings).needed:
        return Finding("access", True, _("only with an API key; captiond keys list shows the keys."))
    if exposure.is_loopback(settings.host):
        return Finding("access", True, _("this machine only, without keys."))
    return Finding(
        "access",
        True,
        _(
            "anyone who can reach {host}, because of --insecure; add API keys to restrict it.",
            host=settings.host or _("every address"),
        ),
    )


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Check that Redis answers and is durable, then the workers, the queue and the uploads."""
    redis = connect(running_url(settings))
    try:
        redis.ping()
    except RedisError as error:
        message = _(
            "does not answer ({reason}). Start the service with captiond serve, or set CAPTIOND_REDIS_URL.",
            reason=error,
        )
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
    if workers:
        names = ", ".join(f"{worker.name} ({worker.model.name})" for worker in workers)
        yield Finding("workers", True, Message(names))
        for worker in workers:
            if reason := worker.unavailable:
                yield Finding(
                    "workers", False, _("{worker} claims no job. {reason}", worker=worker.name, reason=reason)
                )
    else:
        message = _("none is running. Start one with captiond serve or celery -A worker worker.")
        yield Finding("workers", False, message)
    counts = ledger.counts()
    yield Finding("jobs", True, Message(", ".join(f"{count} {status.value}" for status, count in counts.items())))
    oldest = ledger.oldest(Status.QUEUED)
    waited = now - oldest.created_at.timestamp() if oldest else 0.0
    stuck = waited > MAX_WAIT
    if oldest is None:
        yield Finding("waiting", True, _("no job waits."))
    elif not stuck:
        message = _("the oldest job, {job}, has waited for {seconds} s.", job=oldest.id, seconds=round(waited))
        yield Finding("waiting", True, message)
    elif reason := outage(components.workers.alive(), model_of(oldest.options)):
        message = _(
            "the oldest job, {job}, has waited for {seconds} s. {reason}",
            job=oldest.id,
            seconds=round(waited),
            reason=reason,
        )
        yield Finding("waiting", False, message)
    else:
        message = _(
            "the oldest job, {job}, has waited for {seconds} s. Start more workers, or read the worker's log.",
            job=oldest.id,
            seconds=round(waited),
        )
        yield Finding("waiting", False, message)
    held, overdue = counts[Status.PROCESSING], ledger.overdue(settings.lease_seconds)
    if overdue:
        message = _(
            "{held} jobs are held by workers, {overdue} of them longer than their lease (the oldest is {oldest}). A "
            "running worker requeues them within a second: read its log.",
            held=held,
            overdue=len(overdue),
            oldest=overdue[0],
        )
    else:
        message = _("{held} jobs are held by workers, 0 of them longer than their lease.", held=held)
    yield Finding("leases", not overdue, message)
    webhooks = components.outbox.status()
    if webhooks.last:
        message = _(
            "{waiting} to be delivered, {given_up} given up; the last to {host}.",
            waiting=webhooks.waiting,
            given_up=webhooks.given_up,
            host=webhooks.last,
        )
    else:
        message = _(
            "{waiting} to be delivered, {given_up} given up.", waiting=webhooks.waiting, given_up=webhooks.given_up
        )
    yield Finding("webhooks", True, message)


def _unreferenced(unreferenced: UnreferencedUploads, settings: Settings) -> Finding:
    uploads = UploadStore(settings.uploads_location)
    stored = orphaned = 0
    for folder in range(FOLDERS):
        try:
            files = uploads.list_files(folder)
        except UploadsUnavailable as error:
            return Finding("pictures", False, _("The upload store does not answer: {reason}.", reason=error.__cause__))
        stored += len(files)
        orphaned += len(unreferenced.select({job_id for job_id, _path in files}, UPLOAD_GRACE_PERIOD))
    if not orphaned:
        return Finding("pictures", True, _("{stored} are stored, each with its job record.", stored=stored))
    # A killed web server leaves a few. When most have no record, the settings probably name the wrong Redis.
    ok = 2 * orphaned < stored
    advice = _("The recovery deletes them after CAPTIOND_RETENTION.")
    if not ok:
        advice = _(
            "Does CAPTIOND_REDIS_URL name the Redis that has their records? If so, its data was lost: restore a backup "
            "before CAPTIOND_RETENTION is over."
        )
    message = _(
        "{stored} are stored, {orphaned} of them without a job record. {advice}",
        stored=stored,
        orphaned=orphaned,
        advice=advice,
    )
    return Finding("pictures", ok, message)
