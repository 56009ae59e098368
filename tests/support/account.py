"""What became of every picture that was accepted: the promise of the service, counted."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support.pictures import drawing, encoded
from tests.support.service import Client, wait_until

#: Seconds that a run may take to finish what was accepted.
PATIENCE = 600


def different(count: int) -> list[bytes]:
    """So many pictures, no two the same."""
    return [encoded(drawing(f"rgb({n % 256}, {n // 256 * 20 % 256}, 90)", (160, 120))) for n in range(count)]


@dataclass
class Account:
    """Pictures sent as batches, and what is known of each, by its place in the order of sending."""

    client: Client
    batches: list[str] = field(default_factory=list)
    first_seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    rewritten: set[str] = field(default_factory=set)

    def send(self, pictures: list[bytes]) -> None:
        """Send them as one batch; only what is answered with 202 is accepted."""
        boundary = "picture-boundary"
        parts = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{n}.jpg"\r\n\r\n'.encode()
            + data
            + b"\r\n"
            for n, data in enumerate(pictures)
        )
        request = urllib.request.Request(
            f"{self.client.url}/v1/batches",
            data=parts + f"--{boundary}--\r\n".encode(),
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        status, batch = self.client.send(request)
        assert status == 202, batch
        self.batches.append(batch["id"])

    def look(self) -> Counter[str]:
        """How many are in each state now; notes every result that differs from what was seen before.

        A second write of the very same result cannot be seen here.
        """
        counts: Counter[str] = Counter()
        for line in self._lines():
            counts[line["status"]] += 1
            if line["status"] in ("succeeded", "failed"):
                written = (line["status"], json.dumps([line["caption"], line["score"], line["error"]]))
                if self.first_seen.setdefault(line["id"], written) != written:
                    self.rewritten.add(line["id"])
        return counts

    def settle(self) -> Counter[str]:
        """Wait until nothing is open any more."""
        wait_until(self._settled, lambda: self.look(), PATIENCE)
        return self.look()

    def captions(self) -> list[str | None]:
        """In the order of sending."""
        return [line["caption"] for line in self._lines()]

    def _settled(self) -> bool:
        counts = self.look()
        return bool(counts) and not counts["queued"] and not counts["processing"]

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for batch in self.batches:
            try:
                with urllib.request.urlopen(f"{self.client.url}/v1/batches/{batch}/results", timeout=60) as answer:
                    lines += [json.loads(line) for line in answer.read().splitlines()]
            except OSError:
                return []
        return lines
