"""The claims that a worker holds, and what it is still to caption of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from common.ledger import Claim


class HeldClaims:
    """The claims in progress, each with its future once its image is submitted to the batcher. Thread-safe."""

    def __init__(self) -> None:
        self._futures: dict[Claim, Future[Any] | None] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Claim]:
        """Iterate over the claims that are held now."""
        with self._lock:
            return iter(list(self._futures))

    def __len__(self) -> int:
        with self._lock:
            return len(self._futures)

    def __contains__(self, claim: object) -> bool:
        """Whether the claim is in progress and not known to be lost."""
        with self._lock:
            return claim in self._futures

    def add(self, claims: Iterable[Claim]) -> None:
        """Hold these claims."""
        with self._lock:
            self._futures |= dict.fromkeys(claims)

    def attach(self, claim: Claim, future: Future[Any]) -> None:
        """Cancel `future` when the claim is lost; at once if it is no longer held."""
        with self._lock:
            if claim in self._futures:
                self._futures[claim] = future
                return
        future.cancel()

    def remove(self, claims: Iterable[Claim]) -> None:
        """Hold these claims no longer; their futures stay as they are."""
        with self._lock:
            for claim in claims:
                self._futures.pop(claim, None)

    def lose(self, claims: Iterable[Claim]) -> None:
        """Hold these claims no longer, and stop the work on them."""
        with self._lock:
            futures = [self._futures.pop(claim, None) for claim in claims]
        for future in filter(None, futures):
            future.cancel()

    def cancel_waiting(self) -> list[Claim]:
        """Cancel the images that wait for the model, none that it is captioning; returns their claims, still held."""
        with self._lock:
            futures = dict(self._futures)
        return [claim for claim, future in futures.items() if future and future.cancel()]
