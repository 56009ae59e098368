"""`/v1/jobs`: create, list, poll, cancel and delete jobs."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request, url_for

from common import problems
from common.images.sandbox import sandbox
from common.jobs import Job
from common.ledger import NewJob
from common.options import model_of
from common.queue import notify
from web.api.deadline import requested_cancel_after
from web.api.fetching import fetched_image
from web.api.paging import query_cursor, query_int, query_status
from web.api.preferences import add_preference_applied, preferred_wait, wait_until_done
from web.api.webhook import requested_webhook
from web.bodies import job_body
from web.services import get_services
from web.submission import read_upload, requested_options, submit_job, uploaded_image

#: Jobs on one page of the list.
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 200
#: Longer side of the JPEG that `/image` returns, in pixels.
DEFAULT_IMAGE_SIZE, MAX_IMAGE_SIZE = 1024, 2048
#: Characters of an Idempotency-Key.
MAX_IDEMPOTENCY_KEY_LENGTH = 255

blueprint = Blueprint("jobs", __name__, url_prefix="/v1/jobs")


@blueprint.post("")
def create() -> Response:
    """Create a job: 202 while it is open, 201 if it is already finished."""
    services = get_services()
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH:
        raise problems.BAD_REQUEST("An Idempotency-Key has 1 to {limit} characters.", limit=MAX_IDEMPOTENCY_KEY_LENGTH)
    webhook, cancel_after = requested_webhook(services), requested_cancel_after(services.settings)
    services.ledger.admit()
    options = requested_options()
    file = fetched_image(services) if request.is_json else uploaded_image()
    data = read_upload(file, services.settings.max_upload_bytes)
    new_job = NewJob(idempotency_key=key, webhook=webhook, cancel_after=cancel_after, options=options)
    job = submit_job(services, file.filename, data, new_job)
    wait = preferred_wait(request.headers.get("Prefer"))
    job = services.ledger.get(wait_until_done(services, job, wait).id)
    response = jsonify(job_body(job))
    response.status_code = 201 if job.status.terminal else 202
    response.headers["Location"] = url_for("jobs.show", job_id=job.id)
    if not job.status.terminal:
        response.headers["Retry-After"] = "1"
    add_preference_applied(response, wait)
    return response


@blueprint.get("")
def index() -> Response:
    """One page of jobs, newest first."""
    limit = query_int("limit", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    jobs, next_cursor = get_services().ledger.recent(status=query_status(), limit=limit, cursor=query_cursor())
    return jsonify({"jobs": [job_body(job) for job in jobs], "next": next_cursor})


@blueprint.get("/<job_id>")
def show(job_id: str) -> Response:
    """The job; 304 if its ETag matches `If-None-Match`."""
    services = get_services()
    wait = preferred_wait(request.headers.get("Prefer"))
    return job_response(wait_until_done(services, services.ledger.get(job_id), wait), wait)


@blueprint.post("/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Cancel the job; a finished job is returned unchanged."""
    return jsonify(job_body(get_services().ledger.cancel(job_id)))


@blueprint.post("/<job_id>/retry")
def retry(job_id: str) -> Response:
    """Queue a failed or canceled job again whose image is stored; another job is returned unchanged."""
    services = get_services()
    job, is_retried = services.ledger.retry(job_id)
    notify(services.celery, int(is_retried), model_of(job.options))
    return jsonify(job_body(job))


@blueprint.delete("/<job_id>")
def delete(job_id: str) -> Response:
    """Delete the job and its image at once."""
    services = get_services()
    services.ledger.get(job_id)
    services.uploads.delete(job_id)
    services.ledger.delete(job_id)
    return Response(status=204)


@blueprint.get("/<job_id>/image")
def image(job_id: str) -> Response:
    """The image, re-encoded as JPEG without metadata, so that a browser cannot interpret it as another type."""
    services = get_services()
    job = services.ledger.get(job_id)
    if job.input is None:
        raise problems.NOT_FOUND("This job has no picture, because its upload was rejected.")
    size = query_int("size", DEFAULT_IMAGE_SIZE, MAX_IMAGE_SIZE)
    jpeg = sandbox().thumbnail(services.uploads.load(job_id), services.settings.max_pixels, size)
    response = Response(jpeg, mimetype="image/jpeg")
    response.headers["Content-Disposition"] = "inline; filename=picture.jpg"
    response.set_etag(f"{job_id}-{size}")
    response.headers["Cache-Control"] = "private, max-age=300"
    response.make_conditional(request)
    return response


def job_response(job: Job, wait: int) -> Response:
    """A job as JSON with its ETag; `wait` is the applied `Prefer: wait` in seconds."""
    response = jsonify(job_body(job))
    response.add_etag(weak=True)
    response.headers["Cache-Control"] = "no-cache"
    add_preference_applied(response, wait)
    response.make_conditional(request)
    return response
