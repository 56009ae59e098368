"""`/v1/batches`: create, fill, list, read, cancel, retry and delete batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.datastructures import FileStorage

from common import problems, strict_json
from common.ingest import MAX_CUSTOM_ID_LENGTH, MAX_NAME_LENGTH, clean_path
from common.jobs import Job, new_id
from common.ledger import NewBatch
from common.queue import notify
from common.uploads import UploadsUnavailable
from web.api.deadline import requested_cancel_after
from web.api.paging import query_cursor, query_int, query_status
from web.api.webhook import requested_webhook
from web.services import get_services
from web.submission import (
    requested_filename,
    submit_archive,
    submit_batch,
    submit_item,
    uploaded_image,
)

#: Batches on one page of the list, and jobs on one page of a batch.
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, MAX_JOBS_PAGE_SIZE = 50, 200, 500
#: Jobs that are deleted with their batch before the response. The recovery deletes further ones, 200 per second.
MAX_DELETED_AT_ONCE = 100
#: Media types of a body that is an archive.
ARCHIVE_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})

blueprint = Blueprint("batches", __name__, url_prefix="/v1/batches")


@blueprint.post("")
def create() -> Response:
    """Create a batch: 202 with images or an archive, 201 with an open batch, which takes items until it is sealed."""
    services = get_services()
    new_batch = NewBatch(
        webhook=requested_webhook(services),
        cancel_after=requested_cancel_after(services.settings),
        prefix=request.script_root,
    )
    archive = _uploaded_archive()
    if request.is_json:
        services.batches.create(batch_id := new_id(), replace(new_batch, **_requested_fields()))
    elif archive is not None:  # a FileStorage without a name is false
        batch_id = submit_archive(services, archive.filename, archive.stream, new_batch)
    else:
        batch_id = submit_batch(services, request.files.getlist("images"), request.form.getlist("custom_id"), new_batch)
    response = jsonify(services.batches.get(batch_id).body(request.script_root))
    response.headers["Location"] = url_for("batches.show", batch_id=batch_id)
    if request.is_json:
        response.status_code = 201
    else:
        response.status_code = 202
        response.headers["Retry-After"] = "1"
    return response


@blueprint.get("")
def index() -> Response:
    """One page of batches, newest first."""
    limit = query_int("limit", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    batches, next_cursor = get_services().batches.recent(limit=limit, cursor=query_cursor())
    return jsonify({"batches": [batch.body(request.script_root) for batch in batches], "next": next_cursor})


@blueprint.get("/<batch_id>")
def show(batch_id: str) -> Response:
    return jsonify(get_services().batches.get(batch_id).body(request.script_root))


@blueprint.post("/<batch_id>/items")
def add_item(batch_id: str) -> Response:
    """Add an image to an open batch: 202 with its job, or 200 with the job that this `custom_id` already has."""
    services = get_services()
    shared, closed = services.batches.for_item(batch_id)
    file = uploaded_image()
    custom_id = request.args.get("custom_id") or request.form.get("custom_id") or clean_path(file.filename)
    if len(custom_id) > MAX_CUSTOM_ID_LENGTH:
        raise problems.BAD_REQUEST(f"A `custom_id` has at most {MAX_CUSTOM_ID_LENGTH} characters.")
    job, is_new = submit_item(services, batch_id, shared, closed, file, custom_id)
    response = jsonify(services.ledger.get(job.id).body(request.script_root))
    response.status_code = 202 if is_new else 200
    response.headers["Location"] = url_for("jobs.show", job_id=job.id)
    response.headers["Retry-After"] = "1"
    return response


@blueprint.post("/<batch_id>/seal")
def seal(batch_id: str) -> Response:
    """Seal the batch: it takes no more items. The batch of an archive is sealed when the archive is unpacked."""
    batches = get_services().batches
    if batches.get(batch_id).archive is None:
        batches.seal(batch_id)
    return jsonify(batches.get(batch_id).body(request.script_root))


@blueprint.get("/<batch_id>/jobs")
def jobs(batch_id: str) -> Response:
    """One page of the batch's jobs, in the order of submission."""
    batches = get_services().batches
    batches.get(batch_id)
    limit = query_int("limit", DEFAULT_PAGE_SIZE, MAX_JOBS_PAGE_SIZE)
    page, next_cursor = batches.page(batch_id, status=query_status(), limit=limit, cursor=query_cursor())
    return jsonify({"jobs": [job.body(request.script_root) for job in page], "next": next_cursor})


@blueprint.get("/<batch_id>/results")
def results(batch_id: str) -> Response:
    """One JSON line for each job, finished or not, in the order of submission."""
    services = get_services()
    services.batches.get(batch_id)
    return Response(_json_lines(services.batches.jobs(batch_id)), mimetype="application/jsonl")


@blueprint.post("/<batch_id>/cancel")
def cancel(batch_id: str) -> Response:
    """Cancel the open jobs of the batch, which takes no more items."""
    return jsonify(get_services().batches.cancel(batch_id).body(request.script_root))


@blueprint.post("/<batch_id>/retry")
def retry(batch_id: str) -> Response:
    """Queue the failed and canceled jobs again whose image is stored."""
    services = get_services()
    batch, retried = services.batches.retry(batch_id)
    notify(services.celery, retried)
    return jsonify(batch.body(request.script_root))


@blueprint.delete("/<batch_id>")
def delete(batch_id: str) -> Response:
    """Delete the batch with its jobs and images."""
    services = get_services()
    if services.batches.get(batch_id).archive:
        services.uploads.delete(batch_id)
    job_ids = services.batches.delete(batch_id)
    with suppress(UploadsUnavailable):  # the recovery tries again
        for job_id in job_ids[:MAX_DELETED_AT_ONCE]:
            services.uploads.delete(job_id)
            services.components.ledger.delete(job_id)  # unrestricted, as the recovery may have deleted it meanwhile
    return Response(status=204)


def _json_lines(jobs: Iterable[Job]) -> Iterator[str]:
    for job in jobs:
        result = {
            "custom_id": job.custom_id,
            "id": job.id,
            "status": job.status.value,
            "caption": job.output.caption if job.output else None,
            "score": job.output.score if job.output else None,
            "error": job.error.model_dump() if job.error else None,
        }
        yield strict_json.dumps(result) + "\n"


def _uploaded_archive() -> FileStorage | None:
    """The archive of the request: the form field `archive`, or the body itself; None if there is none."""
    if request.mimetype in ARCHIVE_TYPES:
        return FileStorage(request.stream, filename=requested_filename())
    archives = request.files.getlist("archive")
    if archives and (len(archives) > 1 or "images" in request.files):
        raise problems.BAD_REQUEST("A batch has either one `archive` or the field `images`. Send several batches.")
    return archives[0] if archives else None


def _requested_fields() -> dict[str, Any]:
    """The members of a JSON body that creates an open batch: `name` and `options`, each of them optional."""
    body: Any = request.get_json(silent=True)
    if not isinstance(body, dict) or not body.keys() <= {"name", "options"}:
        raise problems.BAD_REQUEST('The body of an open batch is a JSON object, for example {"name": "Holidays"}.')
    name, options = body.get("name"), body.get("options")
    if name is not None and not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_NAME_LENGTH):
        raise problems.BAD_REQUEST(f"`name` must be a text of 1 to {MAX_NAME_LENGTH} printable characters.")
    if options is not None and not isinstance(options, dict):
        raise problems.BAD_REQUEST("`options` must be a JSON object.")
    return {"name": name, "options": options}
