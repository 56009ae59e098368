"""The page, and the plain forms that do without scripts."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems
from common.jobs import Job
from common.ledger import NewJob
from web.services import notice, services
from web.submission import read, submit, submit_all

#: Captions shown below the drop zone.
RECENT = 12

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    here = services()
    jobs, _ = here.ledger.recent(limit=RECENT)
    model = here.model()
    return render_template("index.html", jobs=jobs, model=model, notice=notice(model), settings=here.settings)


@blueprint.post("/")
def upload() -> WerkzeugResponse:
    """The form without scripts: to the job, or to the batch of several pictures."""
    here = services()
    files = request.files.getlist("images")
    if not files:
        raise problems.MISSING_IMAGE("No picture was chosen. Go back, choose one or several, and send them again.")
    if len(files) > 1:
        return redirect(url_for("pages.batch", batch_id=submit_all(here, files, [])), 303)
    here.ledger.admit()
    job = submit(here, files[0].filename, read(files[0], here.settings.max_upload_bytes), NewJob())
    return redirect(url_for("pages.job", job_id=job.id), 303)


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    return _following([services().ledger.get(job_id)])


@blueprint.get("/batches/<batch_id>")
def batch(batch_id: str) -> Response:
    here = services()
    here.batches.get(batch_id)
    return _following(list(here.batches.jobs(batch_id)))


def _following(jobs: list[Job]) -> Response:
    """The jobs on a page that loads itself anew until all are done."""
    waiting = any(not job.status.terminal for job in jobs)
    response = Response(render_template("jobs.html", jobs=jobs, waiting=waiting), mimetype="text/html")
    if waiting:
        response.headers["Refresh"] = "2"
    return response
