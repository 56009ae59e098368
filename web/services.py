"""What the views work with: the ledger, the uploads, Celery."""

from __future__ import annotations

import threading
from typing import cast

from celery import Celery
from flask import current_app, g
from redis import Redis

from common.jobs import ModelInfo
from common.keyring import Keyring
from common.ledger import Batches, Components, Ledger
from common.outbound import Outbound
from common.settings import Settings
from common.uploads import UploadStore

#: Requests that may wait for a caption at once; the others are answered right away. A thread that waits costs next to
#: nothing.
WAITING = 64
#: Threads of the web server: clients who wait never keep those who upload from one.
THREADS = WAITING + 16
#: Pictures that are fetched from their URLs at once.
FETCHING = 4

#: What to do about the demo model; shown on the page, too.
DEMO_NOTICE = (
    "The bundled demo model is captioning. It is small: it names common scenes of people, dogs, sport and streets, "
    "and is often wrong about rarer things, colours and counts. To use the real one, place student_epoch6.pt in the "
    "project's root and start the service again."
)


class Services:
    """One application's connections."""

    def __init__(self, settings: Settings, redis: Redis, celery: Celery) -> None:
        self.settings = settings
        self.redis = redis
        self.celery = celery
        self.components = Components(redis, settings)
        self.workers, self.completions = self.components.workers, self.components.completions
        self.uploads = UploadStore(settings.uploads_location)
        self.uploads.create()
        self.outbound = Outbound(settings.allow_local_urls)
        self.keyring = Keyring(settings)
        self.may_fetch = threading.BoundedSemaphore(FETCHING)
        self.may_wait = threading.BoundedSemaphore(WAITING)
        #: Set when the server shuts down: nobody waits for a caption any longer.
        self.stopping = threading.Event()

    @property
    def ledger(self) -> Ledger:
        """The ledger as who made this request may see it."""
        return self.components.ledger.for_principal(g.principal)

    @property
    def batches(self) -> Batches:
        """The batches, likewise."""
        return self.components.batches.for_principal(g.principal)

    def model(self) -> ModelInfo | None:
        """The model of the worker that was heard last; None while no worker is ready."""
        return next((worker.model for worker in self.workers.alive()), None)


def services() -> Services:
    """The services of the application that handles this request."""
    return cast(Services, current_app.extensions["captiond"])


def notice(model: ModelInfo | None) -> str | None:
    """The sentence that a person should read about `model`."""
    return DEMO_NOTICE if model and model.demo else None
