"""What the views work with: the ledger, the uploads, Celery."""

from __future__ import annotations

import copy
import threading
from typing import cast

from celery import Celery
from flask import current_app
from redis import Redis

from common.jobs import ModelInfo
from common.keyring import Keyring
from common.ledger import Batches, Endings, Ledger, Viewer, Workers
from common.outbound import Outbound
from common.settings import Settings
from common.uploads import UploadStore
from web.access import viewer

#: Requests that may wait for a caption at once; the others are answered right away. A thread that waits costs next to
#: nothing.
WAITING = 64
#: Threads of the web server: clients who wait never keep those who upload from one.
THREADS = WAITING + 16
#: Pictures that are fetched from their URLs at once.
FETCHING = 4


class Services:
    """One application's connections."""

    def __init__(self, settings: Settings, redis: Redis, celery: Celery) -> None:
        self.settings = settings
        self.redis = redis
        self.celery = celery
        self.ledger = Ledger(redis, settings)
        self.batches = Batches(redis, settings)
        self.workers = Workers(redis, settings)
        self.uploads = UploadStore(settings.uploads_location)
        self.uploads.create()
        self.endings = Endings(redis)
        self.outbound = Outbound(settings.allow_local_urls)
        self.keyring = Keyring(settings)
        self.may_fetch = threading.BoundedSemaphore(FETCHING)
        self.may_wait = threading.BoundedSemaphore(WAITING)
        #: Set when the server shuts down: nobody waits for a caption any longer.
        self.stopping = threading.Event()

    def for_viewer(self, viewer: Viewer) -> Services:
        """The same connections, with the ledger and the batches as `viewer` sees them."""
        seen = copy.copy(self)
        seen.ledger, seen.batches = self.ledger.for_viewer(viewer), self.batches.for_viewer(viewer)
        return seen

    def model(self) -> ModelInfo | None:
        """The model of the worker that was heard last; None while no worker is ready."""
        return next((worker.model for worker in self.workers.alive()), None)


def services() -> Services:
    """The services of the application that handles this request, as who made the request may see them."""
    return cast(Services, current_app.extensions["captiond"]).for_viewer(viewer())
