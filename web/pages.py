"""HTML pages: start page, and the pages of a batch, a job and the workers. Scripts improve them; all work without."""

from __future__ import annotations

import re
from collections import Counter
from importlib.metadata import version
from itertools import islice
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from common import problems
from common.images import raw
from common.images.formats import FORMAT_NAMES, RENDERED_SUFFIXES, SUFFIXES
from common.jobs import BatchStatus, Job
from common.ledger import NewBatch, NewJob
from common.options import model_of
from common.translation import _
from web.api.paging import query_cursor
from web.services import get_services, notice
from web.submission import read_upload, requested_options, submit_batch, submit_job

#: Batches on the start page, and pictures that it shows of each.
BATCHES, PREVIEWS = 12, 4
#: Jobs without a batch on the start page, and jobs among which it looks for them.
SINGLE_JOBS, RECENT_JOBS = 6, 60
#: Jobs on the page of a batch, before scripts load the others.
PAGE_SIZE = 48
#: Formats of results, as the download menu names them.
DOWNLOADS = {
    "csv": _("Table (CSV)"),
    "txt.zip": _("Text files (ZIP)"),
    "xmp.zip": _("XMP sidecars for photo managers (ZIP)"),
    "jsonl": _("JSON lines"),
    "coco": _("COCO annotations"),
    "hf": _("Hugging Face data set"),
    "labelstudio": _("Label Studio tasks"),
}
#: Parts of the queue, as the page of the workers names them.
QUEUES = {
    "interactive": _("Single pictures"),
    "bulk": _("Pictures of batches"),
    "suspects": _("Held by a lost worker, to be retried alone"),
    "postponed": _("Waiting for the upload store"),
}

#: What file dialogs offer, and what scripts take from folders: types and suffixes as in the `accept` of an input.
ACCEPTED = ",".join(["image/*", *sorted(SUFFIXES if raw.is_installed() else RENDERED_SUFFIXES), ".zip"])

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """The form, and the history: batches, newest first, and the latest jobs without a batch."""
    services = get_services()
    cursor = query_cursor()
    batches, next_cursor = services.batches.recent(limit=BATCHES, cursor=cursor)
    jobs: list[Job] = []
    if cursor is None:
        recent, _next = services.ledger.recent(limit=RECENT_JOBS)
        jobs = list(islice((job for job in recent if job.batch is None), SINGLE_JOBS))
    previews = [(batch, services.batches.page(batch.id, limit=PREVIEWS)[0]) for batch in batches]
    return _render("index.html", batches=previews, jobs=jobs, next=next_cursor)


@blueprint.post("/")
def upload() -> WerkzeugResponse:
    """Handle the form without JavaScript: redirect to the job of one image, or to the batch of several."""
    services = get_services()
    files = request.files.getlist("images")
    if not files:
        raise problems.MISSING_IMAGE("No picture was chosen. Go back, choose at least one, and send the form again.")
    if len(files) > 1:
        batch_id = submit_batch(services, files, [], NewBatch(options=requested_options()))
        return redirect(url_for("pages.batch", batch_id=batch_id), 303)
    services.ledger.admit()
    data = read_upload(files[0], services.settings.max_upload_bytes)
    job = submit_job(services, files[0].filename, data, NewJob(options=requested_options()))
    return redirect(url_for("pages.job", job_id=job.id), 303)


@blueprint.get("/batches/<batch_id>")
def batch(batch_id: str) -> str:
    """The batch with a page of its jobs. Without scripts, browsers reload it until all have ended."""
    services = get_services()
    batch = services.batches.get(batch_id)
    jobs, next_cursor = services.batches.page(batch_id, limit=PAGE_SIZE, cursor=query_cursor())
    jobs.sort(key=_natural_order)
    waiting = batch.status in (BatchStatus.OPEN, BatchStatus.IN_PROGRESS)
    return _render("batch.html", batch=batch, jobs=jobs, next=next_cursor, waiting=waiting)


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> str:
    """The job with its picture, captions and measurements."""
    job = get_services().ledger.get(job_id)
    return _render("job.html", job=job, facts=list(_facts(job)))


@blueprint.get("/workers")
def workers() -> str:
    """The workers with their last heartbeats, and the queue. A script or the browser refreshes it."""
    services = get_services()
    queue = services.components.metrics.queue()
    asked = Counter[str]()
    for (_kind, model), lane in queue.lanes.items():
        asked[model] += lane.jobs
    lengths = {kind: queue.of_kind(kind).jobs for kind, _model in queue.lanes} | {"postponed": queue.postponed}
    return _render(
        "workers.html",
        workers=sorted(services.workers.with_ages(), key=lambda item: item[0].name),  # so that rows stay in place
        queue=[(label, lengths[name]) for name, label in QUEUES.items()],
        asked=sorted((model, jobs) for model, jobs in asked.items() if model),
        version=version("captiond"),
    )


def _render(template: str, **context: Any) -> str:
    """Render a page, with what all of them show: the models, a notice about them, and what the form accepts."""
    services = get_services()
    alive = services.workers.alive()
    models = services.workers.models(alive)
    return render_template(
        template,
        models=models,
        running=[known.name for known, workers in models if workers],
        notice=notice(alive, services.default_model),
        settings=services.settings,
        formats=FORMAT_NAMES,
        accepted=ACCEPTED,
        downloads=DOWNLOADS,
        admin=g.principal.sees_all,
        **context,
    )


def _natural_order(job: Job) -> list[str | int]:
    """Sort key by which `2.jpg` comes before `10.jpg`, as in scripts. Uploads do not end in the order they began."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", (job.custom_id or "").lower())]


def _facts(job: Job) -> Any:
    """Names and values of what is known about the job."""
    if job.output and job.output.confidence is not None:
        yield _("Confidence"), _("{percent} %", percent=round(100 * job.output.confidence))
    if model := job.model.name if job.model else model_of(job.options):
        yield _("Model"), model
    if job.input:
        yield (
            _("Picture"),
            _(
                "{width} x {height} pixels, {format}, {size} kB",
                width=job.input.width,
                height=job.input.height,
                format=job.input.format,
                size=-(-job.input.bytes // 1000),
            ),
        )
    if job.cached:
        yield _("Captioned"), _("before: the same picture was known")
    elif job.timings:
        yield _("Waited"), _("{seconds} s", seconds=round(job.timings.queue_seconds, 2))
        yield _("Captioned in"), _("{seconds} s", seconds=round(job.timings.model_seconds, 2))
