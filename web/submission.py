"""The one way in for pictures, whether by API, in a batch, or by the page's form."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from flask import request
from redis.exceptions import ConnectionError, TimeoutError
from werkzeug.datastructures import FileStorage

from common import problems
from common.jobs import InputInfo, Job, ModelInfo, Status, new_id
from common.ledger import NewJob
from common.problems import Problem
from common.queue import notify
from common.sandbox import sandbox
from web.services import Services

#: Longest file name that is kept, in characters.
NAME_LENGTH = 200


def read(file: FileStorage, limit: int) -> bytes:
    """The file's bytes; raises `upload-too-large` without reading on."""
    data = file.stream.read(limit + 1)
    if len(data) > limit:
        raise too_large(limit)
    return data


def too_large(limit: int) -> Problem:
    """The problem of a file of more than `limit` bytes."""
    return problems.UPLOAD_TOO_LARGE(
        f"The file is larger than the {limit / 2**20:.0f} MB that are accepted here. "
        "Make the picture smaller, for example by saving it as JPEG, and send it again."
    )


def submit(services: Services, filename: str | None, data: bytes, new: NewJob) -> Job:
    """Check, keep and record one picture, and notify the workers; raises as `keep` does.

    A broker that does not answer is no error: the recovery notifies again.
    """
    job = keep(services, filename, data, services.model(), new)
    if job.status is Status.QUEUED:
        notify(services.celery, 1)
    return job


def keep(services: Services, filename: str | None, data: bytes, model: ModelInfo | None, new: NewJob) -> Job:
    """Check, keep and record one picture as the job `new`; a caption that `model` made of it before is taken.

    Raises the picture's problem, `idempotency-conflict`, `quota-used-up`, `storage-full`, or
    `redis.RedisError`; nothing is kept then.
    """
    facts = sandbox().check(data, services.settings.max_pixels)
    picture = InputInfo(
        filename=clean_name(filename),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        format=facts.format,
        width=facts.width,
        height=facts.height,
    )
    if new.idempotency_key and (earlier := services.ledger.remembered(new.idempotency_key, picture)):
        return earlier
    services.ledger.charge(len(data))
    output = services.ledger.cached(picture.sha256, model.version) if model else None
    cached = (model, output) if model and output else None
    job_id = new_id()
    services.uploads.save(job_id, data)
    try:
        job = services.ledger.create(job_id, replace(new, input=picture, cached=cached, prefix=request.script_root))
    except (ConnectionError, TimeoutError):
        # The answer is lost, the record may have been written: its picture stays. The recovery deletes an orphan.
        raise
    except BaseException:
        services.uploads.delete(job_id)
        raise
    if job.id != job_id:  # the same Idempotency-Key won a race
        services.uploads.delete(job_id)
    return job


def clean_name(filename: str | None) -> str:
    """The last part of a path, without control characters, of bearable length."""
    last = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(character for character in last if character.isprintable()).strip()
    return printable[-NAME_LENGTH:] or "picture"
