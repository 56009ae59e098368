"""`/v1/jobs`: send a picture, follow it, cancel it, delete it."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request, url_for

from common import problems
from common.images.sandbox import sandbox
from common.jobs import Job, Status, is_id
from common.ledger import NewJob
from web.api.fetching import fetched_image
from web.api.preferences import preferred_wait, say_applied, wait_for
from web.api.webhook import requested_webhook
from web.services import services
from web.submission import read, sent_image, submit

#: Jobs on one page of the list.
PAGE, LONGEST_PAGE = 50, 200
#: Sides of the picture as it is shown again, in pixels.
SIDE, LARGEST_SIDE = 1024, 2048
#: Longest Idempotency-Key, in characters.
KEY_LENGTH = 255

blueprint = Blueprint("jobs", __name__, url_prefix="/v1/jobs")


@blueprint.post("")
def create() -> Response:
    """202 with the job, 201 when its caption is there already."""
    here = services()
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= KEY_LENGTH:
        raise problems.BAD_REQUEST(f"An Idempotency-Key has 1 to {KEY_LENGTH} characters.")
    webhook = requested_webhook(here)
    here.ledger.admit()
    file = fetched_image(here) if request.is_json else sent_image()
    data = read(file, here.settings.max_upload_bytes)
    job = submit(here, file.filename, data, NewJob(idempotency_key=key, webhook=webhook))
    seconds = preferred_wait(request.headers.get("Prefer"))
    job = here.ledger.get(wait_for(here, job, seconds).id)
    response = jsonify(job.body(request.script_root))
    response.status_code = 201 if job.status.terminal else 202
    response.headers["Location"] = url_for("jobs.show", job_id=job.id)
    if not job.status.terminal:
        response.headers["Retry-After"] = "1"
    say_applied(response, seconds)
    return response


@blueprint.get("")
def index() -> Response:
    """The newest jobs first, in pages."""
    status = request.args.get("status")
    if status is not None and status not in set(Status):
        raise problems.BAD_REQUEST(f"There is no status {status!r}; there are {', '.join(Status)}.")
    limit = whole_number("limit", PAGE, LONGEST_PAGE)
    cursor = request.args.get("cursor")
    if cursor is not None and not is_id(cursor):
        raise problems.BAD_REQUEST("`cursor` takes the `next` of the page before. Leave it out for the first page.")
    jobs, following = services().ledger.recent(status=Status(status) if status else None, limit=limit, cursor=cursor)
    return jsonify({"jobs": [job.body(request.script_root) for job in jobs], "next": following})


@blueprint.get("/<job_id>")
def show(job_id: str) -> Response:
    """The job; 304 when it is as the client knows it."""
    here = services()
    seconds = preferred_wait(request.headers.get("Prefer"))
    return job_response(wait_for(here, here.ledger.get(job_id), seconds), seconds)


@blueprint.post("/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """The job, canceled unless it was done."""
    return jsonify(services().ledger.cancel(job_id).body(request.script_root))


@blueprint.delete("/<job_id>")
def delete(job_id: str) -> Response:
    """Record and picture, gone at once."""
    here = services()
    here.ledger.get(job_id)
    here.uploads.delete(job_id)
    here.ledger.delete(job_id)
    return Response(status=204)


@blueprint.get("/<job_id>/image")
def image(job_id: str) -> Response:
    """The picture, encoded anew: without metadata, and never as anything but a picture."""
    here = services()
    job = here.ledger.get(job_id)
    if job.input is None:
        raise problems.NOT_FOUND("This job has no picture: what was sent for it was refused.")
    side = whole_number("size", SIDE, LARGEST_SIDE)
    picture = sandbox().thumbnail(here.uploads.load(job_id), here.settings.max_pixels, side)
    response = Response(picture, mimetype="image/jpeg")
    response.headers["Content-Disposition"] = "inline; filename=picture.jpg"
    response.set_etag(f"{job_id}-{side}")
    response.headers["Cache-Control"] = "private, max-age=300"
    response.make_conditional(request)
    return response


def job_response(job: Job, waited: int) -> Response:
    """A job as JSON with its ETag."""
    response = jsonify(job.body(request.script_root))
    response.add_etag(weak=True)
    response.headers["Cache-Control"] = "no-cache"
    say_applied(response, waited)
    response.make_conditional(request)
    return response


def whole_number(name: str, default: int, most: int) -> int:
    """A number from 1 to `most` of the query string."""
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise problems.BAD_REQUEST(f"`{name}` takes a whole number from 1 to {most}.")
    return int(text)
