"""Audits a run: every accepted job must be captioned, exactly once."""

from __future__ import annotations

import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from redis import RedisError

from common.jobs import Job, Status
from common.ledger import Components, connect, keys
from common.settings import Settings
from tests.support.aof import results_written
from tests.support.images import drawing, encoded
from tests.support.service import Client, wait_until

#: Seconds that the accepted jobs may take to finish.
RUN_TIMEOUT = 600
#: Images per batch.
BATCH_SIZE = 500


def distinct_images(count: int) -> list[bytes]:
    """`count` different images as PNG; JPEG would encode two similar colours as the same bytes."""
    return [encoded(drawing(f"rgb({n % 256}, {n // 256 * 20 % 256}, 90)", (160, 120)), "PNG") for n in range(count)]


@dataclass(frozen=True)
class Outcome:
    """The result of one run. `different` counts captions that differ from those of the undisturbed run."""

    run: str
    accepted: int
    succeeded: int
    failed: Counter[str]
    lost: int
    written_twice: int
    different: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether no job was lost, none was written twice, and all captions are the same."""
        return not (self.lost or self.written_twice or self.different)

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {problem}" for problem, count in self.failed.items()) or "0"
        return (
            f"{self.run}: accepted {self.accepted}, succeeded {self.succeeded}, failed {failed}, lost {self.lost}, "
            f"written twice {self.written_twice}, other captions {self.different} ({self.seconds:.0f} s)"
        )


#: The outcomes of all runs, for the summary of the test report.
OUTCOMES: list[Outcome] = []


@dataclass
class JobAudit:
    """Records the accepted jobs and the refused requests of one run."""

    client: Client
    settings: Settings
    aof: Path
    accepted: list[str] = field(default_factory=list)
    refused: Counter[tuple[int, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._redis = connect(self.settings.redis_location)
        self._ledger = Components(self._redis, self.settings).ledger

    def send(self, images: Sequence[bytes]) -> None:
        """Send the images in batches; every batch must be accepted."""
        for start in range(0, len(images), BATCH_SIZE):
            status, batch = self.client.send(_batch(self.client.url, images[start : start + BATCH_SIZE]))
            assert status == 202, batch
            self.accepted += cast("list[str]", self._redis.zrange(keys.all_jobs(keys.scope(batch=batch["id"])), 0, -1))

    def submit(self, image: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send one image; record the accepted job, or the problem that refused it."""
        status, answer = self.client.post_image(image, **headers)
        if status in (201, 202):
            self.accepted.append(answer["id"])
        else:
            self.refused[status, answer.get("type", "no answer")] += 1
        return status, answer

    def jobs(self) -> list[Job]:
        """The accepted jobs that are in the ledger."""
        return self._ledger.read(self.accepted)

    def counts(self) -> dict[Status, int]:
        """The current number of jobs in each state."""
        return self._ledger.counts()

    def settled(self) -> bool:
        """Whether no job is open."""
        try:
            counts = self.counts()
        except RedisError:
            return False
        return not counts[Status.QUEUED] and not counts[Status.PROCESSING]

    def captions(self) -> dict[str, str]:
        """The captions by the image's SHA-256."""
        return {job.input.sha256: job.output.caption for job in self.jobs() if job.input and job.output}

    def include_all_jobs(self) -> None:
        """Treat every job in the ledger as accepted, including those whose client got no response."""
        self.accepted = cast("list[str]", self._redis.zrange(keys.all_jobs(), 0, -1))

    def finish(self, run: str, undisturbed: Mapping[str, str]) -> Outcome:
        """Wait until no job is open, then count. `undisturbed` has the captions of a run without faults."""
        wait_until(self.settled, self.counts, RUN_TIMEOUT)
        # While the disk is busy, Redis delays writes to its append-only file for up to two seconds.
        wait_until(lambda: not self._redis.info("persistence")["aof_buffer_length"])
        jobs = self.jobs()
        written = results_written(self.aof)
        outcome = Outcome(
            run,
            accepted=len(self.accepted),
            succeeded=sum(job.status is Status.SUCCEEDED for job in jobs),
            failed=Counter(job.error.type.rpartition("/")[2] for job in jobs if job.error),
            lost=len(self.accepted) - len(jobs) + sum(not written[job.id] for job in jobs),
            written_twice=sum(times > 1 for times in written.values()),
            different=sum(undisturbed.get(sha256, caption) != caption for sha256, caption in self.captions().items()),
            seconds=time.monotonic() - self._began,
        )
        OUTCOMES.append(outcome)
        return outcome


def _batch(url: str, images: Sequence[bytes]) -> urllib.request.Request:
    boundary = "image-boundary"
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{n}.jpg"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for n, data in enumerate(images)
    )
    return urllib.request.Request(
        f"{url}/v1/batches",
        data=parts + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
