"""How long images wait for their turn, with a worker whose model only takes time."""

from __future__ import annotations

import itertools
import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from celery import Celery

from benchmarks.clients import Load
from captioning.captioner import Pixels
from common.jobs import InputInfo, ModelInfo, Output, Status, new_id
from common.ledger import Components, NewJob, Principal, connect
from common.queue import CLAIM_SIZE, QUEUE, make_celery, notify
from common.settings import Settings
from common.uploads import UploadStore
from worker.runtime import WorkerRuntime
from worker.tasks import caption_waiting_jobs

#: Seconds of a call of the model, and for each image in it.
CALL, IMAGE = 0.02, 0.01
MODEL = ModelInfo(name="simulated", version="sha256:0")
#: Pauses between two interactive images, in seconds, so that they come at all moments of a call.
PAUSES = (0.02, 0.3)
#: Seconds for which nothing may happen to a job that is waited for.
PATIENCE = 60.0
_numbers = itertools.count()
_PIXELS = np.zeros((3, 1, 1), dtype=np.float32)


class Simulated:
    """A captioner that takes the time of a model and no processor."""

    model = MODEL

    def prepare(self, data: bytes) -> Pixels:
        return _PIXELS

    def caption(self, pictures: Sequence[Pixels]) -> list[Output]:
        time.sleep(CALL + IMAGE * len(pictures))
        return [Output(caption="a dog")] * len(pictures)


class NoImages(UploadStore):
    """A store that has whatever is asked for."""

    def load(self, job_id: str, sha256: str | None = None) -> bytes:
        return b""


class Owner:
    """Submits under one key, and waits."""

    def __init__(self, settings: Settings, celery: Celery, name: str) -> None:
        components = Components(connect(settings.redis_location), settings)
        principal = Principal(name, sees_all=False)
        self._ledger = components.ledger.for_principal(principal)
        self._batches = components.batches.for_principal(principal)
        self._completions = components.completions
        self._celery = celery

    def interactive(self, count: int) -> Load:
        """The seconds that each of so many images took, which were sent at random moments, one after the other."""
        chance, latencies, began = random.Random(0), [], time.perf_counter()
        with self._completions.subscribe("the whole time") as subscribed:
            subscribed.wait(PATIENCE)
            for _ in range(count):
                time.sleep(chance.uniform(*PAUSES))
                with self._completions.subscribe(job_id := new_id()) as ended:
                    sent = time.perf_counter()
                    self._ledger.create(job_id, NewJob(input=image()))
                    notify(self._celery, 1)
                    if not ended.wait(PATIENCE) or self._ledger.get(job_id).status is not Status.SUCCEEDED:
                        raise TimeoutError(job_id)
                    latencies.append(time.perf_counter() - sent)
        return Load(latencies, time.perf_counter() - began)

    def send_batch(self, count: int) -> str:
        """Have so many images wait in one batch; its id."""
        self._batches.create(batch := new_id())
        for number in range(count):
            job_id = new_id()
            self._ledger.create(job_id, NewJob(input=image(), batch=batch))
            if number % CLAIM_SIZE == 0:
                notify(self._celery, CLAIM_SIZE)
        return batch

    def batch_seconds(self, count: int) -> float:
        """Seconds from the first submission of a batch of so many images to the last result."""
        began = time.perf_counter()
        batch = self.send_batch(count)
        while self._batches.get(batch).request_counts.succeeded < count:
            time.sleep(0.01)
        return time.perf_counter() - began

    def cancel(self, batch: str) -> None:
        self._batches.cancel(batch)


def image() -> InputInfo:
    """Another image each time."""
    number = f"{next(_numbers):064x}"
    return InputInfo(filename="photo.jpg", sha256=number, bytes=150_000, format="JPEG", width=1024, height=768)


@contextmanager
def working(settings: Settings) -> Iterator[Celery]:
    """A worker in this process, with as many threads as Celery's pool would have; the app to notify it by."""
    celery = make_celery(settings)
    resident = WorkerRuntime(settings, Simulated(), celery, Components(connect(settings.redis_location), settings))
    resident.uploads = NoImages(settings.uploads_location)
    stopping = threading.Event()

    def take_notifications() -> None:
        with celery.connection_for_read() as connection:
            inbox = connection.SimpleQueue(QUEUE)
            while not stopping.is_set():
                try:
                    inbox.get(timeout=0.5).ack()
                except queue.Empty:
                    continue
                caption_waiting_jobs(resident)

    threads = [threading.Thread(target=take_notifications) for _ in range(celery.conf.worker_concurrency)]
    resident.start()
    for thread in threads:
        thread.start()
    try:
        yield celery
    finally:
        stopping.set()
        resident.stopping.set()
        for thread in threads:
            thread.join()
        resident.close()
