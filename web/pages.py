"""HTML pages: the start page, and the pages of a job and of a batch, which work without JavaScript."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems
from common.images.decoding import FORMAT_NAMES
from common.jobs import Job
from common.ledger import NewJob
from web.language import current_language
from web.services import get_services, model_notice
from web.status import status_message
from web.submission import read_upload, submit_batch, submit_job

#: Recent jobs on the start page.
RECENT_JOBS = 12
#: Seconds after which the page of an unfinished job is reloaded.
REFRESH_INTERVAL = 2

blueprint = Blueprint("pages", __name__)
blueprint.add_app_template_filter(status_message)


@blueprint.get("/")
def index() -> str:
    services = get_services()
    jobs, _ = services.ledger.recent(limit=RECENT_JOBS)
    model = services.current_model()
    notice = model_notice(model)
    return render_template(
        "index.html",
        jobs=jobs,
        model=model,
        notice=notice.translated(current_language()) if notice else None,
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
        return redirect(url_for("pages.batch", batch_id=submit_batch(services, files, [])), 303)
    services.ledger.admit()
    data = read_upload(files[0], services.settings.max_upload_bytes)
    job = submit_job(services, files[0].filename, data, NewJob())
    return redirect(url_for("pages.job", job_id=job.id), 303)


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    return _jobs_page([get_services().ledger.get(job_id)])


@blueprint.get("/batches/<batch_id>")
def batch(batch_id: str) -> Response:
    services = get_services()
    services.batches.get(batch_id)
    return _jobs_page(list(services.batches.jobs(batch_id)))


def _jobs_page(jobs: list[Job]) -> Response:
    """A page that lists `jobs`, and is reloaded by the browser until all are finished."""
    waiting = any(not job.status.terminal for job in jobs)
    response = Response(render_template("jobs.html", jobs=jobs, waiting=waiting), mimetype="text/html")
    if waiting:
        response.headers["Refresh"] = str(REFRESH_INTERVAL)
    return response
