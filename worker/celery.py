"""The Celery app of `celery -A worker worker`: loads the student before the first task, stops cleanly."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING

from celery import signals

from common import folders, logs
from common.folders import FolderError
from common.ledger import Components, SchemaError, connect
from common.queue import CAPTION_TASK, make_celery
from common.settings import from_environment

if TYPE_CHECKING:
    from worker.runtime import WorkerRuntime

log = logging.getLogger(__name__)

settings = from_environment()
app = make_celery(settings)
_resident: WorkerRuntime | None = None


@app.task(name=CAPTION_TASK)
def caption(*_: object) -> None:
    """Caption what waits. A notification says no more than that; those of an earlier version also carried ids."""
    from worker import tasks

    assert _resident is not None, "worker_init loads the model before the pool takes tasks"
    tasks.work(_resident)


@signals.setup_logging.connect
def _log(**_: object) -> None:
    logs.configure(settings)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)  # two lines for each task otherwise
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)


@signals.worker_init.connect
def _load(**_: object) -> None:
    """Make the student runtime, or end with a sentence: a worker without a model would only fail jobs."""
    # Celery sets up logging, and what SIGTERM does, only after this. Loading takes long, and process 1 of a container
    # is sent no signal for which it has no handler.
    _log()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        folders.prepare(settings)
    except FolderError as error:
        log.error("%s", error)
        raise SystemExit(1) from error
    components = Components(connect(settings.redis_location), settings)
    try:
        components.ledger.start()
    except SchemaError as error:
        log.error("%s", error)
        raise SystemExit(1) from error
    # torch, which these import, needs the folder of temporary files.
    from captioning import weights
    from captioning.captioner import StudentCaptioner, limit_threads
    from captioning.student.errors import StudentError
    from worker.runtime import WorkerRuntime

    global _resident
    limit_threads()
    try:
        captioner = StudentCaptioner(weights.load(settings), settings)
    except StudentError as error:
        log.error("No model, no worker. %s", error)
        raise SystemExit(1) from error
    _resident = WorkerRuntime(settings, captioner, app, components)
    _resident.start()


@signals.worker_shutting_down.connect
def _stop(**_: object) -> None:
    """Claim nothing more; Celery waits for what is being captioned."""
    if _resident:
        _resident.stopping.set()


@signals.worker_shutdown.connect
def _leave(**_: object) -> None:
    if _resident:
        _resident.close()
