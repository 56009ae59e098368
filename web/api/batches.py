"""`/v1/batches`: create, fill, list, read, cancel, retry and delete batches."""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint, Response, jsonify, request, url_for
from werkzeug.datastructures import FileStorage

from common import problems
from common.ingest import MAX_CUSTOM_ID_LENGTH, MAX_NAME_LENGTH, clean_path
from common.jobs import new_id
from common.ledger import NewBatch
from common.options import model_of
from common.queue import notify
from common.uploads import UploadsUnavailable
from web.api.deadline import requested_cancel_after
from web.api.manifest import MANIFEST_MEMBERS, requested_manifest
from web.api.paging import query_cursor, query_int, query_status
from web.api.webhook import requested_webhook
from web.bodies import batch_body, job_body
from web.services import get_services
from web.subjects import requested_traceparent
from web.submission import (
    json_body,
    requested_filename,
    requested_options,
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
    """Create a batch: 202 with images, an archive or a manifest, 201 with an open batch, which takes items."""
    services = get_services()
    batch_id = new_id()
    manifest = requested_manifest(services.settings, batch_id)
    new_batch = NewBatch(
        name=_requested_name() if request.is_json else None,
        manifest=manifest,
        options=requested_options(),
        webhook=requested_webhook(services),
        cancel_after=requested_cancel_after(services.settings),
        prefix=request.script_root,
        traceparent=requested_traceparent(),
    )
    archive = _uploaded_archive()
    if request.is_json:
        services.batches.create(batch_id, new_batch)
    elif archive is not None:  # a FileStorage without a name is false
        batch_id = submit_archive(services, archive.filename, archive.stream, new_batch)
    else:
        batch_id = submit_batch(services, request.files.getlist("images"), request.form.getlist("custom_id"), new_batch)
    response = jsonify(batch_body(services.batches.get(batch_id)))
    response.headers["Location"] = url_for("batches.show", batch_id=batch_id)
    if request.is_json and not manifest:
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
    return jsonify({"batches": [batch_body(batch) for batch in batches], "next": next_cursor})


@blueprint.get("/<batch_id>")
def show(batch_id: str) -> Response:
    return jsonify(batch_body(get_services().batches.get(batch_id)))


@blueprint.post("/<batch_id>/items")
def add_item(batch_id: str) -> Response:
    """Add an image to an open batch: 202 with its job, or 200 with the job that this `custom_id` already has."""
    services = get_services()
    shared, closed = services.batches.for_item(batch_id)
    file = uploaded_image()
    custom_id = request.args.get("custom_id") or request.form.get("custom_id") or clean_path(file.filename)
    if len(custom_id) > MAX_CUSTOM_ID_LENGTH:
        raise problems.BAD_REQUEST("A `custom_id` has at most {limit} characters.", limit=MAX_CUSTOM_ID_LENGTH)
    job, is_new = submit_item(services, batch_id, shared, closed, file, custom_id)
    response = jsonify(job_body(services.ledger.get(job.id)))
    response.status_code = 202 if is_new else 200
    response.headers["Location"] = url_for("jobs.show", job_id=job.id)
    response.headers["Retry-After"] = "1"
    return response


@blueprint.post("/<batch_id>/seal")
def seal(batch_id: str) -> Response:
    """Seal the batch: it takes no more items. That of an archive or a manifest is sealed when this has been read."""
    batches = get_services().batches
    batch = batches.get(batch_id)
    if batch.archive is None and batch.manifest is None:
        batches.seal(batch_id)
    return jsonify(batch_body(batches.get(batch_id)))


@blueprint.get("/<batch_id>/jobs")
def jobs(batch_id: str) -> Response:
    """One page of the batch's jobs, in the order of submission."""
    batches = get_services().batches
    batches.get(batch_id)
    limit = query_int("limit", DEFAULT_PAGE_SIZE, MAX_JOBS_PAGE_SIZE)
    page, next_cursor = batches.page(batch_id, status=query_status(), limit=limit, cursor=query_cursor())
    return jsonify({"jobs": [job_body(job) for job in page], "next": next_cursor})


@blueprint.post("/<batch_id>/cancel")
def cancel(batch_id: str) -> Response:
    """Cancel the open jobs of the batch, which takes no more items."""
    return jsonify(batch_body(get_services().batches.cancel(batch_id)))


@blueprint.post("/<batch_id>/retry")
def retry(batch_id: str) -> Response:
    """Queue the failed and canceled jobs again whose image is stored."""
    services = get_services()
    batch, retried = services.batches.retry(batch_id)
    notify(services.celery, retried, model_of(batch.options))
    return jsonify(batch_body(batch))


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


def _uploaded_archive() -> FileStorage | None:
    """The archive of the request: the form field `archive`, or the body itself; None if there is none."""
    if request.mimetype in ARCHIVE_TYPES:
        return FileStorage(request.stream, filename=requested_filename())
    archives = request.files.getlist("archive")
    if archives and (len(archives) > 1 or "images" in request.files):
        raise problems.BAD_REQUEST("A batch has either one `archive` or the field `images`. Send several batches.")
    return archives[0] if archives else None


def _requested_name() -> str | None:
    """The member `name` of a JSON body that creates a batch; its other members are `options` and a manifest's."""
    body = json_body()
    if not isinstance(body, dict) or not body.keys() <= {"name", "options", *MANIFEST_MEMBERS}:
        raise problems.BAD_REQUEST('The body of an open batch is a JSON object, for example {"name": "Holidays"}.')
    name = body.get("name")
    if name is not None and not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_NAME_LENGTH):
        raise problems.BAD_REQUEST("`name` must be a text of 1 to {limit} printable characters.", limit=MAX_NAME_LENGTH)
    return name
