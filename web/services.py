"""The dependencies of the views: settings, Redis, Celery, the ledger and the upload store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import attrgetter
from typing import cast

from celery import Celery
from flask import current_app, g
from redis import Redis

from common.jobs import ModelInfo
from common.keyring import Keyring
from common.ledger import Batches, Components, Ledger, Worker
from common.ledger.workers import outage, serving
from common.outbound import Outbound
from common.settings import Settings
from common.translation import Message, _
from common.uploads import UploadStore
from web.store_probe import StoreProbe

#: Concurrent requests that may wait for a job (`Prefer: wait`); further ones are answered at once. A waiting request
#: occupies a thread, which costs little.
MAX_WAITING_REQUESTS = 64
#: Threads of the web server, enough for uploads while all wait slots are in use.
THREADS = MAX_WAITING_REQUESTS + 16
#: Concurrent downloads of images from URLs.
MAX_CONCURRENT_FETCHES = 4

#: The notice about the demo model; the start page shows it, too.
DEMO_NOTICE = _(
    "A small demo model writes these captions. It knows common scenes of people, animals, sport and streets, and is "
    "often wrong about rarer things, colours and numbers: read before you use them."
)


class Services:
    """The dependencies of one application."""

    def __init__(self, settings: Settings, redis: Redis, celery: Celery) -> None:
        self.settings = settings
        self.redis = redis
        self.celery = celery
        self.components = Components(redis, settings)
        self.workers, self.completions = self.components.workers, self.components.completions
        self.uploads = UploadStore(settings.uploads_location)
        self.uploads.create()
        self.store_probe = StoreProbe(self.uploads)
        self.outbound = Outbound(settings.allow_local_urls)
        self.keyring = Keyring(settings, redis)
        self.fetch_slots = threading.BoundedSemaphore(MAX_CONCURRENT_FETCHES)
        self.wait_slots = threading.BoundedSemaphore(MAX_WAITING_REQUESTS)
        #: Set when the server shuts down; waiting requests are then answered at once.
        self.stopping = threading.Event()

    @property
    def ledger(self) -> Ledger:
        """The ledger, restricted to the principal of this request."""
        return self.components.ledger.for_principal(g.principal)

    @property
    def batches(self) -> Batches:
        """The batches, restricted to the principal of this request."""
        return self.components.batches.for_principal(g.principal)

    @property
    def default_model(self) -> str:
        """The model of jobs that ask for none; '' if any worker captions them."""
        return self.settings.default_model or ""

    def models(self) -> list[ModelInfo]:
        """The models that jobs may ask for, in the order of their names.

        Those that workers have or had, and the default one, of which nothing but its name is known before a worker
        announces it.
        """
        models = {model.name: model for model in self.workers.known_models()}
        if self.default_model:
            models.setdefault(self.default_model, ModelInfo(name=self.default_model, version=""))
        return sorted(models.values(), key=attrgetter("name"))


def get_services() -> Services:
    """The services of the current application."""
    return cast(Services, current_app.extensions["captiond"])


def outage_notice(alive: Sequence[Worker]) -> Message | None:
    """Why none of these workers captions; None if one does, or if there is none."""
    reason = outage(alive)
    return _("{reason} Pictures are accepted and wait.", reason=reason) if reason else None


def notice(alive: Sequence[Worker], model: str) -> Message | None:
    """What users should know who upload pictures and ask for no model; `model` is the default one, '' for none.

    That none of the live workers captions these pictures now, or that nothing but a demo does. None while no worker is
    alive.
    """
    workers = serving(alive, model)
    if alive and not workers:
        return outage(alive, model)
    captioning = [worker.model for worker in workers if not worker.unavailable]
    return DEMO_NOTICE if captioning and all(each.demo for each in captioning) else outage_notice(workers)
