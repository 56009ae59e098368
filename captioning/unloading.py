"""A captioner whose model leaves memory while no picture comes (`CAPTIOND_UNLOAD_AFTER`)."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch

from captioning.captioner import Captioner, ModelUnavailable, Pixels
from common.jobs import Output
from common.options import SearchOptions
from common.problems import Problem
from common.translation import _

#: Seconds after a failed attempt to load the model in which no other is made.
RETRY_DELAY = 5.0

_AWAY = _("The model cannot be loaded at the moment. Try again later.")

log = logging.getLogger(__name__)


class UnloadingCaptioner:
    """Unloads `captioner` after `idle_seconds` without a picture. The next picture loads it again, with `reload`.

    The model that `reload` finds may be a later version of the first one; `model` is then that. Both methods raise
    `ModelUnavailable` if the model cannot be loaded again now, such as while another program uses the GPU's memory.
    """

    def __init__(
        self,
        captioner: Captioner,
        reload: Callable[[], Captioner],
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model, self.device, self.precision = captioner.model, captioner.device, captioner.precision
        self.server = None
        self._captioner: Captioner | None = captioner
        self._reload = reload
        self._idle_seconds = idle_seconds
        self._clock = clock
        #: Calls in progress, and when the last one ended.
        self._calls, self._last_call = 0, clock()
        self._load_after = 0.0
        self._lock = threading.Lock()
        threading.Thread(target=self._unload_when_idle, name="unload", daemon=True).start()

    @property
    def loaded(self) -> bool:
        return self._captioner is not None

    def prepare(self, data: bytes) -> Pixels:
        with self._in_use() as captioner:
            return captioner.prepare(data)

    def caption(self, images: Sequence[Pixels], search: SearchOptions | None = None) -> Sequence[Output | Problem]:
        with self._in_use() as captioner:
            return captioner.caption(images, search)

    def unload_if_idle(self) -> float:
        """Unload the model if it is idle for long enough. Returns the seconds after which to look again."""
        with self._lock:
            idle = 0.0 if self._calls else self._clock() - self._last_call
            if idle < self._idle_seconds:
                return self._idle_seconds - idle
            if self._captioner is not None:
                self._captioner = None
                _return_memory()
                log.info("The model is unloaded, as no picture came for %.0f s. The next one loads it again.", idle)
        return self._idle_seconds

    @contextmanager
    def _in_use(self) -> Iterator[Captioner]:
        """The captioner, loaded if it was not. It is not unloaded before the context ends."""
        with self._lock:
            captioner = self._captioner or self._load()
            self._calls += 1
        try:
            yield captioner
        finally:
            with self._lock:
                self._calls -= 1
                self._last_call = self._clock()

    def _load(self) -> Captioner:
        if self._clock() < self._load_after:
            raise ModelUnavailable(_AWAY)
        log.info("Loading the model again ...")
        try:
            captioner = self._reload()
        except Exception as error:  # the file is gone or damaged, or there is not enough memory
            log.warning("The model cannot be loaded again: %s", error)
            self._load_after = self._clock() + RETRY_DELAY
            raise ModelUnavailable(_AWAY) from error
        self._captioner, self.model = captioner, captioner.model
        return captioner

    def _unload_when_idle(self) -> None:
        seconds = self._idle_seconds
        while True:
            time.sleep(seconds)
            seconds = self.unload_if_idle()


def _return_memory() -> None:
    """Return the memory of deleted tensors to the GPU's other programs and to the operating system."""
    gc.collect()
    torch.cuda.empty_cache()
    if sys.platform == "linux":
        # glibc keeps what was freed, for the process. Other C libraries have no such function.
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
