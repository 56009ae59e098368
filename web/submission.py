"""Validate, store and record uploaded images. The API, batches and the page's form all use this module."""

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
from web.forms import decode_text, shown_name
from web.services import Services

#: Other form fields that the error for a missing image lists.
MAX_SHOWN_FIELDS = 5
#: Characters of a file name; its beginning is cut off.
MAX_NAME_LENGTH = 200


def uploaded_image() -> FileStorage:
    """The image of a request: the form field `image`, or the body itself. Raises `missing-image` or `bad-request`."""
    if request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        # WSGI decodes all headers as Latin-1 (PEP 3333).
        filename = decode_text(request.headers.get("X-Filename", "").encode("latin-1", "replace"))
        return FileStorage(io.BytesIO(request.get_data(cache=False)), filename=filename)
    files = request.files.getlist("image")
    if len(files) == 1:
        return files[0]
    if len(files) > 1:
        raise problems.BAD_REQUEST(
            "This request takes one picture. Send several to {path}, each as the form field `images`.",
            path=request.script_root + "/v1/batches",
        )
    others = ", ".join(shown_name(name) for name in islice(chain(request.files, request.form), MAX_SHOWN_FIELDS))
    if others:
        raise problems.MISSING_IMAGE(
            "Send the picture as the multipart form field `image`, for example: curl -F image=@photo.jpg URL. The form "
            "has {others}, but no `image`.",
            others=others,
        )
    raise problems.MISSING_IMAGE(
        "Send the picture as the multipart form field `image`, for example: curl -F image=@photo.jpg URL."
    )


def read_upload(file: FileStorage, limit: int) -> bytes:
    """The content of the file; raises `upload-too-large` if it has more than `limit` bytes."""
    data = file.stream.read(limit + 1)
    if len(data) > limit:
        raise upload_too_large(limit)
    return data


def upload_too_large(limit: int) -> Problem:
    """The problem of a file of more than `limit` bytes."""
    return problems.UPLOAD_TOO_LARGE(
        "The file is larger than the limit of {limit} MB. Make the picture smaller, for example by saving it as JPEG, "
        "and send it again.",
        limit=round(limit / 2**20),
    )


def submit_job(services: Services, filename: str | None, data: bytes, new_job: NewJob) -> Job:
    """Create a job for one image and notify the workers; raises as `create_job` does.

    A failed notification is no error, because the recovery notifies again.
    """
    job = create_job(services, filename, data, services.current_model(), new_job)
    if job.status is Status.QUEUED:
        notify(services.celery, 1)
    return job


def submit_batch(
    services: Services, files: list[FileStorage], custom_ids: list[str], webhook: str | None = None
) -> str:
    """Create a batch with a job for each of `files`; returns its id.

    An invalid file creates a failed job. `webhook` receives an event when the batch is finished. Raises
    `missing-image`, `too-many-images` or `bad-request` for the batch as a whole.
    """
    max_items = services.settings.max_batch_items
    if not files:
        raise problems.MISSING_IMAGE("Send each picture as the multipart form field `images`.")
    if len(files) > max_items:
        raise problems.TOO_MANY_IMAGES(
            "The batch has {pictures} pictures; the maximum is {limit}. Send several batches.",
            pictures=len(files),
            limit=max_items,
        )
    if custom_ids and len(custom_ids) != len(files):
        raise problems.BAD_REQUEST(
            "The form has {images} `images`, but {ids} `custom_id`. Send one `custom_id` for each picture, or none.",
            images=len(files),
            ids=len(custom_ids),
        )
    services.ledger.admit(len(files))
    batch_id = new_id()
    services.batches.create(batch_id, webhook, request.script_root)
    model, queued = services.current_model(), 0  # one query of the workers for the whole batch
    for file, custom_id in zip(files, custom_ids or [clean_filename(file.filename) for file in files], strict=True):
        new_job = NewJob(batch=batch_id, custom_id=custom_id, webhook=webhook)
        try:
            data = read_upload(file, services.settings.max_upload_bytes)
            job = create_job(services, file.filename, data, model, new_job)
        except Problem as problem:
            services.ledger.create(new_id(), replace(new_job, error=problem))
            continue
        queued += job.status is Status.QUEUED
        if queued == CLAIM_SIZE:  # workers start on the first images before the last one is stored
            notify(services.celery, queued)
            queued = 0
    notify(services.celery, queued)
    if webhook:
        services.batches.seal(batch_id)
    return batch_id


def create_job(services: Services, filename: str | None, data: bytes, model: ModelInfo | None, new_job: NewJob) -> Job:
    """Validate and store one image, and record its job. A cached caption of `model` finishes the job at once.

    Raises the problem of an invalid image, `idempotency-conflict`, `quota-used-up`, `storage-full`, or
    `redis.RedisError`. The image is then deleted, unless the job may have been recorded.
    """
    header = sandbox().check(data, services.settings.max_pixels)
    image = InputInfo(
        filename=clean_filename(filename),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        format=header.format,
        width=header.width,
        height=header.height,
    )
    if new_job.idempotency_key and (earlier := services.ledger.find_idempotent(new_job.idempotency_key, image)):
        return earlier
    services.ledger.charge(len(data))
    output = services.ledger.cached_caption(image.sha256, model.version) if model else None
    cached = (model, output) if model and output else None
    job_id = new_id()
    services.uploads.save(job_id, data)
    try:
        job = services.ledger.create(job_id, replace(new_job, input=image, cached=cached, prefix=request.script_root))
    except (ConnectionError, TimeoutError):
        # Redis may have recorded the job before its reply was lost. The recovery deletes unreferenced uploads.
        raise
    except BaseException:
        services.uploads.delete(job_id)
        raise
    if job.id != job_id:  # a concurrent request with the same Idempotency-Key created its job first
        services.uploads.delete(job_id)
    return job


def clean_filename(filename: str | None) -> str:
    """Base name without control characters, at most `MAX_NAME_LENGTH` characters; `picture` if nothing is left."""
    base_name = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(character for character in base_name if character.isprintable()).strip()
    return printable[-MAX_NAME_LENGTH:] or "picture"
