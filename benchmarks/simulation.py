"""A worker with a simulated model, and clients that measure how long their images wait in the queue."""

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
from common.options import SearchOptions
from common.queue import CLAIM_SIZE, QUEUE, make_celery, notify
from common.settings import Settings
from common.uploads import UploadStore
from worker.runtime import WorkerRuntime
from worker.tasks import caption_waiting_jobs

#: Simulated duration of a model call, in seconds: fixed, and per image.
CALL_SECONDS, IMAGE_SECONDS = 0.02, 0.01
MODEL = ModelInfo(name="simulated", version="sha256:0")
#: Shortest and longest pause between two interactive images, in seconds; random, so that they arrive at any moment of a
#: model call.
PAUSES = (0.02, 0.3)
#: Seconds that a job may take.
JOB_TIMEOUT = 60.0
_numbers = itertools.count()
_PIXELS = np.zeros((3, 1, 1), dtype=np.float32)


class SimulatedCaptioner:
    """A captioner that sleeps for the time of a model call: `call_seconds`, and `image_seconds` for each image."""

    model = MODEL
    device, precision = "cpu", "fp32"
    server = None

    def __init__(self, call_seconds: float = CALL_SECONDS, image_seconds: float = IMAGE_SECONDS) -> None:
        self._call_seconds = call_seconds
        self._image_seconds = image_seconds

    def prepare(self, data: bytes) -> Pixels:
        return _PIXELS

    def caption(self, pictures: Sequence[Pixels], search: SearchOptions | None = None) -> list[Output]:
        time.sleep(self._call_seconds + self._image_seconds * len(pictures))
        return [Output(caption="a dog")] * len(pictures)


class EmptyUploads(UploadStore):
    """An upload store that returns no bytes for any job id."""

    def load(self, job_id: str, sha256: str | None = None) -> bytes:
        return b""


class Client:
    """Submits jobs under one API key and waits for their results."""

    def __init__(self, settings: Settings, celery: Celery, name: str) -> None:
        components = Components(connect(settings.redis_location), settings)
        principal = Principal(name, sees_all=False)
        self._ledger = components.ledger.for_principal(principal)
        self._batches = components.batches.for_principal(principal)
        self._completions = components.completions
        self._celery = celery

    def interactive(self, count: int) -> Load:
        """Send `count` images one after the other, with random pauses, and return their latencies."""
        rng, latencies, started = random.Random(0), [], time.perf_counter()
        # A subscription that stays open keeps the connection for the others open; its event is set when it is ready.
        with self._completions.subscribe("keeps the connection") as connected:
            connected.wait(JOB_TIMEOUT)
            for _ in range(count):
                time.sleep(rng.uniform(*PAUSES))
                with self._completions.subscribe(job_id := new_id()) as ended:
                    sent = time.perf_counter()
                    self._ledger.create(job_id, NewJob(input=new_image()))
                    notify(self._celery, 1)
                    if not ended.wait(JOB_TIMEOUT) or self._ledger.get(job_id).status is not Status.SUCCEEDED:
                        raise TimeoutError(job_id)
                    latencies.append(time.perf_counter() - sent)
        return Load(latencies, time.perf_counter() - started)

    def send_batch(self, count: int) -> str:
        """Create a batch of `count` waiting images and return its id."""
        self._batches.create(batch := new_id())
        for number in range(count):
            job_id = new_id()
            self._ledger.create(job_id, NewJob(input=new_image(), batch=batch))
            if number % CLAIM_SIZE == 0:
                notify(self._celery, CLAIM_SIZE)
        return batch

    def batch_seconds(self, count: int) -> float:
        """Seconds from the first submission to the last result of a batch of `count` images."""
        started = time.perf_counter()
        batch = self.send_batch(count)
        while self.succeeded(batch) < count:
            time.sleep(0.01)
        return time.perf_counter() - started

    def succeeded(self, batch: str) -> int:
        """Number of captioned images of a batch."""
        return self._batches.get(batch).request_counts.succeeded

    def cancel(self, batch: str) -> None:
        """Cancel a batch."""
        self._batches.cancel(batch)


def new_image() -> InputInfo:
    """Metadata of an image with a new digest."""
    number = f"{next(_numbers):064x}"
    return InputInfo(filename="photo.jpg", sha256=number, bytes=150_000, format="JPEG", width=1024, height=768)


@contextmanager
def running_worker(settings: Settings) -> Iterator[Celery]:
    """Run a worker in this process with as many threads as Celery's pool has; yield the app that notifies it."""
    celery = make_celery(settings)
    runtime = WorkerRuntime(
        settings, SimulatedCaptioner(), celery, Components(connect(settings.redis_location), settings)
    )
    runtime.uploads = EmptyUploads(settings.uploads_location)
    stopping = threading.Event()

    def receive_notifications() -> None:
        with celery.connection_for_read() as connection:
            inbox = connection.SimpleQueue(QUEUE)
            while not stopping.is_set():
                try:
                    inbox.get(timeout=0.5).ack()
                except queue.Empty:
                    continue
                caption_waiting_jobs(runtime)

    threads = [threading.Thread(target=receive_notifications) for _ in range(celery.conf.worker_concurrency)]
    runtime.start()
    for thread in threads:
        thread.start()
    try:
        yield celery
    finally:
        stopping.set()
        runtime.stopping.set()
        for thread in threads:
            thread.join()
        runtime.close()
