"""The Celery app of `celery -A worker worker`: loads the student before the first task and shuts down cleanly."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from celery import signals

from common import folders, logs, tracing
from common.folders import FolderError
from common.ledger import Components, SchemaError, connect
from common.queue import CAPTION_TASK, make_celery, queue_of
from common.settings import from_environment

if TYPE_CHECKING:
    from worker.runtime import WorkerRuntime

log = logging.getLogger(__name__)

settings = from_environment()
app = make_celery(settings)
_runtime: WorkerRuntime | None = None


@app.task(name=CAPTION_TASK)
def caption(*_: object) -> None:
    """Caption waiting jobs. Arguments are ignored; an earlier version sent job ids."""
    from worker import tasks

    assert _runtime is not None, "worker_init loads the model before the pool takes tasks"
    tasks.caption_waiting_jobs(_runtime)


@signals.setup_logging.connect
def _configure_logging(**_: object) -> None:
    logs.configure(settings, "worker")
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)  # two lines per task otherwise
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)


@signals.celeryd_init.connect
def _print_only_json(instance: Any, **_: object) -> None:
    """With a JSON log, leave out Celery's banner, and log its warnings."""
    if settings.log == "json":
        _configure_logging()
        instance.quiet = True
        logging.captureWarnings(True)


@signals.worker_init.connect
def _load(**_: object) -> None:
    """Load the student and start the runtime; exit with an error message if that fails."""
    # Celery configures logging and the SIGTERM handler only after this signal. Loading takes long, and process 1 of a
    # container ignores signals without a handler.
    _configure_logging()
    asked_to_stop = threading.Event()

    def stop(*_: object) -> None:
        asked_to_stop.set()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    tracing.configure(settings, "worker")
    try:
        folders.prepare(settings)
    except FolderError as error:
        log.error("%s", error)
        raise SystemExit(1) from error
    components = Components(connect(settings.redis_location), settings)
    try:
        components.ledger.prepare()
    except SchemaError as error:
        log.error("%s", error)
        raise SystemExit(1) from error
    # These import torch, which needs the folder of temporary files.
    from captioning.captioner import load_captioner
    from captioning.errors import StudentError
    from worker.runtime import WorkerRuntime

    global _runtime
    try:
        captioner = load_captioner(settings)
    except StudentError as error:
        log.error("The worker cannot start without a model. %s", error)
        raise SystemExit(1) from error
    if asked_to_stop.is_set():  # a library's `except:`, of which torch's import has many, caught the exit
        sys.exit(0)
    app.amqp.queues.select_add(queue_of(captioner.model.name))
    _runtime = WorkerRuntime(settings, captioner, app, components)
    _runtime.start()


@signals.worker_shutting_down.connect
def _stop(**_: object) -> None:
    """Claim no more jobs; Celery waits for running tasks."""
    if _runtime:
        _runtime.stopping.set()


@signals.worker_shutdown.connect
def _leave(**_: object) -> None:
    if _runtime:
        _runtime.close()
