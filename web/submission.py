"""The one way in for pictures, whether by API, in a batch, or by the page's form."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from itertools import chain, islice

from flask import request
from redis.exceptions import ConnectionError, TimeoutError
from werkzeug.datastructures import FileStorage

from common import problems
from common.images.sandbox import sandbox
from common.jobs import InputInfo, Job, ModelInfo, Status, new_id
from common.ledger import NewJob
from common.problems import Problem
from common.queue import CLAIM_SIZE, notify
from web.forms import decoded, shown_name
from web.services import Services

#: Most of a form's other fields that are named to a client whose form has no picture.
SHOWN_FIELDS = 5
#: Longest file name that is kept, in characters.
NAME_LENGTH = 200


def sent_image() -> FileStorage:
    """The one picture of a request: the form's `image`, or a body that is the picture itself."""
    if request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        # WSGI hands headers on as Latin-1, whatever they are (PEP 3333).
        filename = decoded(request.headers.get("X-Filename", "").encode("latin-1", "replace"))
        return FileStorage(io.BytesIO(request.get_data(cache=False)), filename=filename)
    files = request.files.getlist("image")
    if len(files) == 1:
        return files[0]
    if len(files) > 1:
        raise problems.BAD_REQUEST(
            f"This takes one picture. Send several to {request.script_root}/v1/batches, each as `images`."
        )
    others = ", ".join(shown_name(name) for name in islice(chain(request.files, request.form), SHOWN_FIELDS))
    sent = f" There is {others}, but no `image`." if others else ""
    raise problems.MISSING_IMAGE(
        f"Send the picture as the multipart form field `image`, for example: curl -F image=@photo.jpg URL.{sent}"
    )


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


def submit_all(here: Services, files: list[FileStorage], custom_ids: list[str], webhook: str | None = None) -> str:
    """Record a batch of all `files`, of whose end `webhook` is told; the id of the batch."""
    most = here.settings.max_batch_items
    if not files:
        raise problems.MISSING_IMAGE("Send the pictures as multipart form fields `images`, one for each picture.")
    if len(files) > most:
        raise problems.TOO_MANY_IMAGES(f"{len(files)} pictures are more than the {most} of one batch. Send several.")
    if custom_ids and len(custom_ids) != len(files):
        raise problems.BAD_REQUEST(
            f"There are {len(files)} `images` and {len(custom_ids)} `custom_id`; give one for each picture, or none."
        )
    here.ledger.admit(len(files))
    batch_id = new_id()
    here.batches.create(batch_id, webhook, request.script_root)
    model, recorded = here.model(), 0  # the workers are asked once
    for file, custom_id in zip(files, custom_ids or [clean_name(file.filename) for file in files], strict=True):
        new = NewJob(batch=batch_id, custom_id=custom_id, webhook=webhook)
        try:
            job = keep(here, file.filename, read(file, here.settings.max_upload_bytes), model, new)
        except Problem as problem:
            here.ledger.create(new_id(), replace(new, error=problem))
            continue
        recorded += job.status is Status.QUEUED
        if recorded == CLAIM_SIZE:  # the first pictures need not wait for the last
            notify(here.celery, recorded)
            recorded = 0
    notify(here.celery, recorded)
    if webhook:
        here.batches.seal(batch_id)
    return batch_id


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
    if new.idempotency_key and (earlier := services.ledger.find_idempotent(new.idempotency_key, picture)):
        return earlier
    services.ledger.charge(len(data))
    output = services.ledger.cached_caption(picture.sha256, model.version) if model else None
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
