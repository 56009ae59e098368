"""What became of every picture that was accepted: the promise of the service, counted."""

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

#: Seconds that a run may take to finish what was accepted.
PATIENCE = 600
#: Pictures in one batch.
BATCH = 500


def different(count: int) -> list[bytes]:
    """So many pictures, no two the same; as PNG, as JPEG makes one of two colours that are near each other."""
    return [encoded(drawing(f"rgb({n % 256}, {n // 256 * 20 % 256}, 90)", (160, 120)), "PNG") for n in range(count)]


@dataclass(frozen=True)
class Outcome:
    """One run's account. `different` are captions that the undisturbed run did not give."""

    run: str
    accepted: int
    succeeded: int
    failed: Counter[str]
    lost: int
    written_twice: int
    different: int
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether the promise held: none lost, none written twice, the same captions."""
        return not (self.lost or self.written_twice or self.different)

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {why}" for why, count in self.failed.items()) or "0"
        return (
            f"{self.run}: accepted {self.accepted}, succeeded {self.succeeded}, failed {failed}, lost {self.lost}, "
            f"written twice {self.written_twice}, other captions {self.different} ({self.seconds:.0f} s)"
        )


#: The accounts of all runs, for the end of the tests' report.
OUTCOMES: list[Outcome] = []


@dataclass
class Account:
    """The jobs that were accepted, and the requests that were not."""

    client: Client
    settings: Settings
    aof: Path
    accepted: list[str] = field(default_factory=list)
    refused: Counter[tuple[int, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._redis = connect(self.settings.redis_location)
        self._ledger = Components(self._redis, self.settings).ledger

    def send(self, pictures: Sequence[bytes]) -> None:
        """Send them in batches; what is answered with 202 is accepted, and all must be."""
        for first in range(0, len(pictures), BATCH):
            status, batch = self.client.send(_batch(self.client.url, pictures[first : first + BATCH]))
            assert status == 202, batch
            self.accepted += cast("list[str]", self._redis.zrange(keys.all_jobs(keys.scope(batch=batch["id"])), 0, -1))

    def offer(self, picture: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send one; it is accepted, or counted with the problem that refused it."""
        status, answer = self.client.post_picture(picture, **headers)
        if status in (201, 202):
            self.accepted.append(answer["id"])
        else:
            self.refused[status, answer.get("type", "no answer")] += 1
        return status, answer

    def jobs(self) -> list[Job]:
        """The accepted jobs that the ledger knows."""
        return self._ledger.read(self.accepted)

    def look(self) -> dict[Status, int]:
        """How many jobs of the service are in each state now."""
        return self._ledger.counts()

    def settled(self) -> bool:
        """Whether nothing is open any more."""
        try:
            counts = self.look()
        except RedisError:
            return False
        return not counts[Status.QUEUED] and not counts[Status.PROCESSING]

    def captions(self) -> dict[str, str]:
        """By the picture's SHA-256."""
        return {job.input.sha256: job.output.caption for job in self.jobs() if job.input and job.output}

    def take_all(self) -> None:
        """Account for every job that the ledger knows: those, too, whose client never got an answer."""
        self.accepted = cast("list[str]", self._redis.zrange(keys.all_jobs(), 0, -1))

    def close(self, run: str, undisturbed: Mapping[str, str]) -> Outcome:
        """Wait until nothing is open, and count. `undisturbed` are the captions of a run in which nothing happened."""
        wait_until(self.settled, self.look, PATIENCE)
        # While the disk is busy, Redis holds what it appends to its file back for up to two seconds.
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
            different=sum(undisturbed.get(picture, caption) != caption for picture, caption in self.captions().items()),
            seconds=time.monotonic() - self._began,
        )
        OUTCOMES.append(outcome)
        return outcome


def _batch(url: str, pictures: Sequence[bytes]) -> urllib.request.Request:
    boundary = "picture-boundary"
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{n}.jpg"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for n, data in enumerate(pictures)
    )
    return urllib.request.Request(
        f"{url}/v1/batches",
        data=parts + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
