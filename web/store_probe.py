"""Checks the upload store for the readiness probe, which is called every second and must not wait for the store."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

from common.problems import Problem
from common.uploads import UploadStore, UploadsUnavailable

#: Seconds between two checks of the store.
CHECK_INTERVAL = 5.0
#: Seconds that a probe waits for the check in progress.
CHECK_TIMEOUT = 2.0


class StoreProbe:
    """The result of the latest check of an upload store. One check runs at a time, in a thread of its own."""

    def __init__(self, store: UploadStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._result: Future[None] | None = None
        self._started_at = 0.0

    def check(self) -> None:
        """Raise `uploads-unavailable` or `storage-full` unless the store took files within `CHECK_INTERVAL`."""
        with self._lock:
            is_old = time.monotonic() - self._started_at >= CHECK_INTERVAL
            if self._result is None or (self._result.done() and is_old):
                self._result, self._started_at = Future(), time.monotonic()
                threading.Thread(target=self._run, args=(self._result,), name="store-probe", daemon=True).start()
            result = self._result
        try:
            result.result(CHECK_TIMEOUT)
        except TimeoutError:
            raise UploadsUnavailable from None

    def _run(self, result: Future[None]) -> None:
        try:
            self._store.check()
        except Problem as problem:
            result.set_exception(problem)
        else:
            result.set_result(None)
