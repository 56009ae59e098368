"""HTML pages: the start page, and the pages of a job and of a batch, which work without JavaScript."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems
from common.images.decoding import FORMAT_NAMES
from common.jobs import BatchStatus, Job
from common.ledger import NewBatch, NewJob
from web.services import get_services, model_notice
from web.submission import read_upload, submit_batch, submit_job

#: Recent jobs on the start page.
RECENT_JOBS = 12
#: Jobs on the page of a batch.
MAX_SHOWN_JOBS = 200
#: Seconds after which the page of an unfinished job is reloaded.
REFRESH_INTERVAL = 2

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    services = get_services()
    jobs, _ = services.ledger.recent(limit=RECENT_JOBS)
    model = services.current_model()
    return render_template(
        "index.html",
        jobs=jobs,
        model=model,
        notice=model_notice(model),
        settings=services.settings,
        formats=FORMAT_NAMES,
    )


@blueprint.post("/")
def upload() -> WerkzeugResponse:
    """Handle the form without JavaScript: redirect to the job of one image, or to the batch of several."""
    services = get_services()
    files = request.files.getlist("images")
    if not files:
        raise problems.MISSING_IMAGE("No picture was chosen. Go back, choose at least one, and send the form again.")
    if len(files) > 1:
        return redirect(url_for("pages.batch", batch_id=submit_batch(services, files, [], NewBatch())), 303)
    services.ledger.admit()
    data = read_upload(files[0], services.settings.max_upload_bytes)
    job = submit_job(services, files[0].filename, data, NewJob())
    return redirect(url_for("pages.job", job_id=job.id), 303)


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    job = get_services().ledger.get(job_id)
    return _jobs_page([job], not job.status.terminal)


@blueprint.get("/batches/<batch_id>")
def batch(batch_id: str) -> Response:
    services = get_services()
    batch = services.batches.get(batch_id)
    jobs, _ = services.batches.page(batch_id, limit=MAX_SHOWN_JOBS)
    waiting = batch.status in (BatchStatus.OPEN, BatchStatus.IN_PROGRESS)
    return _jobs_page(jobs, waiting, batch.request_counts.total - len(jobs))


def _jobs_page(jobs: list[Job], waiting: bool, hidden: int = 0) -> Response:
    """A page that lists `jobs` and says that `hidden` are not shown; the browser reloads it while `waiting`."""
    page = render_template("jobs.html", jobs=jobs, waiting=waiting, hidden=hidden)
    response = Response(page, mimetype="text/html")
    if waiting:
        response.headers["Refresh"] = str(REFRESH_INTERVAL)
    return response
