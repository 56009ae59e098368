"""Submit the images of a request. The API and the page's form use this module; `common.ingest` creates the jobs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import IO, Any

from flask import request
from redis.exceptions import ConnectionError, TimeoutError
from werkzeug.datastructures import FileStorage

from common import ingest, problems, tracing
from common.ingest import check_image, clean_filename, clean_path, digest, upload_too_large
from common.jobs import Job, ModelInfo, Status, new_id
from common.ledger import NewBatch, NewJob
from common.logs import Subject
from common.options import CaptionOptions, model_of, no_instructions, parse_options
from common.problems import Problem, shown_name
from common.queue import CLAIM_SIZE, notify
from web.body_limits import max_form_images
from web.forms import decode_text
from web.services import Services, get_services
from web.subjects import requested_traceparent

#: Other form fields that the error for a missing image lists.
MAX_SHOWN_FIELDS = 5


def uploaded_image() -> FileStorage:
    """The image of a request: the form field `image`, or the body itself. Raises `missing-image` or `bad-request`."""
    if request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        return FileStorage(io.BytesIO(request.get_data(cache=False)), filename=requested_filename())
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


def requested_options() -> CaptionOptions | None:
    """The caption options of a request; None without any. Raises `bad-request`.

    They are a JSON object: the form field or the query parameter `options`, or the member `options` of a JSON body.
    Without a model, they get the service's default model, if it has one.
    """
    if "options" in request.files:
        raise problems.BAD_REQUEST("Send `options` as a text field of the form, without a file name.")
    given = [_parse(text) for text in (*request.form.getlist("options"), *request.args.getlist("options"))]
    if isinstance(body := json_body(), dict) and "options" in body:
        given.append(body["options"])
    if len(given) > 1:
        raise problems.BAD_REQUEST("The request has several `options`. Send one JSON object.")
    return accepted_options(get_services(), given[0] if given else None)


def accepted_options(services: Services, value: object) -> CaptionOptions | None:
    """The caption options that a JSON value states, and the default model if they ask for none; None if there are none.

    Raises `bad-request` for a model that nobody knows, and for options that a model cannot obey which may caption now.
    """
    options = _with_model(services, None if value is None else parse_options(value, services.settings))
    if options and (options.instruction or options.language):
        for model in services.workers.captioning(model_of(options)):
            if not model.instructions:
                raise no_instructions(model.name)
    return options


def json_body() -> Any:
    """The request's JSON; None if its body is something else or invalid."""
    try:
        return request.get_json(silent=True)
    except RecursionError:  # for deeply nested arrays
        return None


def requested_filename() -> str:
    """The file name in the header `X-Filename`, for a body that is the file itself."""
    # WSGI decodes all headers as Latin-1 (PEP 3333).
    return decode_text(request.headers.get("X-Filename", "").encode("latin-1", "replace"))


def read_upload(file: FileStorage, limit: int) -> bytes:
    """The content of the file; raises `upload-too-large` if it has more than `limit` bytes."""
    data = file.stream.read(limit + 1)
    if len(data) > limit:
        raise upload_too_large(limit)
    return data


def submit_job(services: Services, filename: str | None, data: bytes, new_job: NewJob) -> Job:
    """Create a job for one image and notify the workers; raises as `create_job` does.

    A failed notification is no error, because the recovery notifies again.
    """
    key, sha256 = new_job.idempotency_key, digest(data)
    if key and (earlier := services.ledger.find_idempotent(key, sha256, options=new_job.options)):
        return earlier
    model = model_of(new_job.options)
    models = services.workers.captioning(model)
    job, _ = create_job(services, filename, data, sha256, models, new_job)
    notify_workers(services, int(job.status is Status.QUEUED), model, models)
    return job


def submit_item(
    services: Services, batch_id: str, shared: NewBatch, closed: Problem | None, file: FileStorage, custom_id: str
) -> tuple[Job, bool]:
    """Create a job for one image of an open batch; returns it, and whether it is new.

    `shared` and `closed` are the result of `Batches.for_item`. The job that the batch already has for `custom_id` and
    these bytes is returned even if the batch is sealed. Raises `upload-too-large`, `closed`, and as `create_job` does.
    """
    data = read_upload(file, services.settings.max_upload_bytes)
    sha256 = digest(data)
    if earlier := services.ledger.find_idempotent(custom_id, sha256, batch_id, shared.options):
        return earlier, False
    if closed:
        raise closed
    services.ledger.admit()
    new_job = NewJob(
        batch=batch_id, custom_id=custom_id, idempotency_key=custom_id, webhook=shared.webhook, options=shared.options
    )
    model = model_of(shared.options)
    models = services.workers.captioning(model)
    job, is_new = create_job(services, file.filename, data, sha256, models, new_job)
    notify_workers(services, int(job.status is Status.QUEUED), model, models)
    return job, is_new


def submit_batch(services: Services, files: list[FileStorage], custom_ids: list[str], new_batch: NewBatch) -> str:
    """Create a batch with a job for each of `files`; returns its id.

    An invalid file creates a failed job. Raises `missing-image`, `too-many-images` or `bad-request` for the batch as a
    whole.
    """
    max_items = max_form_images(services.settings)
    if not files:
        raise problems.MISSING_IMAGE(
            "Send each picture as the multipart form field `images`, or a ZIP file with pictures as `archive`."
        )
    if len(files) > max_items:
        raise problems.TOO_MANY_IMAGES(
            "The form has {pictures} pictures; the maximum is {limit}. Send a ZIP file, or several batches.",
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
    services.batches.create(batch_id, new_batch)
    model, queued = model_of(new_batch.options), 0
    models = services.workers.captioning(model)  # one query of the workers for the whole batch
    for file, custom_id in zip(files, custom_ids or [clean_path(file.filename) for file in files], strict=True):
        new_job = NewJob(batch=batch_id, custom_id=custom_id, webhook=new_batch.webhook, options=new_batch.options)
        try:
            data = read_upload(file, services.settings.max_upload_bytes)
            job, _ = create_job(services, file.filename, data, digest(data), models, new_job)
        except Problem as problem:
            if problem.kind in (problems.BATCH_SEALED, problems.BATCH_GONE):
                break  # another request canceled or deleted it
            services.ledger.create(new_id(), replace(new_job, error=problem))
            continue
        queued += job.status is Status.QUEUED
        if queued == CLAIM_SIZE:  # workers start on the first images before the last one is stored
            notify_workers(services, queued, model, models)
            queued = 0
    notify_workers(services, queued, model, models)
    services.batches.seal(batch_id)
    return batch_id


def submit_archive(services: Services, filename: str | None, stream: IO[bytes], new_batch: NewBatch) -> str:
    """Store a ZIP archive and create a batch, whose images the workers unpack; returns its id.

    Raises `empty-upload`, and as `create_job` does.
    """
    services.ledger.admit()
    batch_id = new_id()
    size = services.uploads.save_stream(batch_id, stream)
    try:
        if not size:
            raise problems.EMPTY_UPLOAD("The archive has no bytes. Send a ZIP file with pictures.")
        services.ledger.charge(size)
        archive = clean_filename(filename or "archive.zip")
        services.batches.create(batch_id, replace(new_batch, archive=archive, archive_bytes=size))
    except (ConnectionError, TimeoutError):
        raise  # Redis may have recorded the batch before its reply was lost
    except BaseException:
        services.uploads.delete(batch_id)
        raise
    return batch_id


def create_job(
    services: Services, filename: str | None, data: bytes, sha256: str, models: Sequence[ModelInfo], new_job: NewJob
) -> tuple[Job, bool]:
    """Check and store one image, and record its job, as `ingest.create_job` does. `sha256` is the digest of `data`.

    Raises the problem of an invalid image, and `quota-used-up`.
    """
    with tracing.span("submit", Subject(traceparent=requested_traceparent())) as traceparent:
        image = check_image(filename, data, sha256, services.settings.max_pixels)
        services.ledger.charge(len(data))
        new_job = replace(new_job, prefix=request.script_root, traceparent=traceparent)
        return ingest.create_job(services.ledger, services.uploads, image, data, models, new_job)


def notify_workers(services: Services, jobs: int, model: str, models: Sequence[ModelInfo]) -> None:
    """Notify the workers that may caption these jobs. `models` are the models of those that are alive.

    While no worker has the model that the jobs ask for, nobody would empty its queue of notifications. The recovery
    notifies the first worker that starts.
    """
    if models or not model:
        notify(services.celery, jobs, model)


def _with_model(services: Services, options: CaptionOptions | None) -> CaptionOptions | None:
    """`options` with the default model if they ask for none. Raises `bad-request` for a model that nobody knows."""
    model, default = model_of(options), services.default_model
    if not model:
        return (options or CaptionOptions()).model_copy(update={"model": default}) if default else options
    known = [each.name for each in services.models()]
    if model in known:
        return options
    if not known:
        raise problems.BAD_REQUEST("`options.model` cannot be chosen yet, because no worker has started.")
    raise problems.BAD_REQUEST(
        "There is no model {model}. `options.model` must be one of {models}.",
        model=shown_name(model),
        models=", ".join(known),
    )


def _parse(text: str) -> Any:
    """The value of `options` in a form or query; raises `bad-request` unless it is JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise problems.BAD_REQUEST('`options` must be a JSON object, such as {"beams": 8}.') from error
