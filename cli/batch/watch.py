"""`captiond watch`: captions the images that arrive in folders, until it is stopped."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import watchfiles

from cli.batch import BatchError
from cli.batch.arrivals import Arrivals
from cli.batch.options import Options
from cli.batch.run import Run, exit_code, running
from cli.batch.sources import Source, left_out, without_raw_twins
from cli.output import local, warn
from common.problems import Problem
from common.settings import Settings
from common.translation import Message, _

#: Seconds between two looks at the files that are not yet whole.
INTERVAL = 0.5
#: Seconds after which all folders are listed again, whatever the file system has reported: network shares report
#: nothing about other machines, and any system loses events when there are too many.
SCAN_INTERVAL = 60.0
#: Images that are captioned before new arrivals are looked at.
ROUND = 256


def watch(settings: Settings, options: Options) -> int:
    """Caption what is in folders, and what arrives there. Return 0 when stopped by SIGTERM or Ctrl-C, 1 for a failure,
    2 for invalid options.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    if wrong := options.wrong() or _wrong(options):
        warn(wrong)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell ignores SIGINT for jobs in the background
        signal.signal(number, signal.default_int_handler)
    if hasattr(signal, "SIGIO"):
        # Sent when a file is opened for writing just while `arrivals` has a lease on it. It would end the process.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
    return exit_code(lambda: _watch(settings, options))


def _watch(settings: Settings, options: Options) -> int:
    arrivals = Arrivals(options.paths, recursive=options.recursive)
    with running(settings, options, patience=math.inf) as run:
        watcher = Watcher(options, run, arrivals)
        with suppress(KeyboardInterrupt):
            watcher.watch()
        warn(watcher.summary())
    return 0


def _wrong(options: Options) -> Message | None:
    """An error message for options that only `captiond watch` refuses, else None."""
    if options.out and options.out.suffix.lower() == ".json":
        return _("A .json file is written at the end, and captiond watch has none. Take .jsonl or .csv.")
    if options.out and options.existing != "skip":
        return _("--existing {mode} is not for captiond watch --out, which keeps every row.", mode=options.existing)
    if options.poll is not None and options.poll <= 0:
        return _("--poll must be more than 0 seconds.")
    return None


class Watcher:
    """Captions the images of `arrivals`, and counts them."""

    def __init__(self, options: Options, run: Run, arrivals: Arrivals) -> None:
        self._options = options
        self._run = run
        self._arrivals = arrivals
        self._captioned = self._failed = 0
        #: Images that were there at the start. They are captioned only if they have no caption, so that a restart
        #: repeats nothing, whatever `--existing` says about those that arrive.
        self._present: set[str] = set()
        self._unlisted: list[Message] = []

    def watch(self) -> None:
        """Run until KeyboardInterrupt. Raises `BatchError`."""
        for image, problem in self._run.resume().items():
            self._fail(image, problem)
        self._run.load()
        scanned: float | None = None
        for paths in _events(self._options, self._arrivals.folders):
            for path in paths:
                self._arrivals.look_at(path)
            if scanned is None:  # only now, because the events of the file system have begun
                self._scan()
                self._present = self._arrivals.pending()
                scanned = time.monotonic()
            elif time.monotonic() - scanned >= (self._options.poll or SCAN_INTERVAL):
                self._scan()
                scanned = time.monotonic()
            while sources := self._arrivals.whole(ROUND):
                self._caption(sources)

    def summary(self) -> Message:
        return _("Stopped. {captioned} captioned, {failed} failed.", captioned=self._captioned, failed=self._failed)

    def _scan(self) -> None:
        unlisted = self._arrivals.scan()
        for sentence in unlisted:
            if sentence not in self._unlisted:
                warn(sentence)
        self._unlisted = unlisted

    def _caption(self, arrived: list[Source]) -> None:
        sources = without_raw_twins(arrived, self._arrivals.known())
        if len(sources) < len(arrived):
            warn(left_out(len(arrived) - len(sources)))
        for image, result in self._run.caption([source for source in sources if self._is_missing(source)]):
            if isinstance(result, Problem):
                if os.path.exists(image):  # else it was deleted or renamed before it was read
                    self._fail(image, result)
                continue
            self._captioned += 1
            self._arrivals.written(image)
            print(f"{image}\t{result.caption}", flush=True)

    def _is_missing(self, source: Source) -> bool:
        """Whether an image is to be captioned."""
        try:
            self._run.output.check(source)
        except BatchError as error:
            self._fail(source.location, error)
            return False
        skips = self._options.existing == "skip" or source.location in self._present
        self._present.discard(source.location)
        if skips and self._run.output.has(source):
            self._arrivals.written(source.location)
            return False
        return True

    def _fail(self, image: str, reason: Problem | BatchError) -> None:
        self._failed += 1
        warn(f"{image}: {local(reason)}")


def _events(options: Options, folders: Iterable[str]) -> Iterator[Iterable[str]]:
    """The paths that changed, every `INTERVAL` seconds; none where the file system reports no changes."""
    if options.poll is None:
        try:
            milliseconds = round(INTERVAL * 1000)
            for changes in watchfiles.watch(
                *folders,
                watch_filter=None,
                debounce=milliseconds,
                rust_timeout=milliseconds,
                yield_on_timeout=True,
                recursive=options.recursive,
                ignore_permission_denied=True,
            ):
                yield [path for _, path in changes]
        except (OSError, RuntimeError, UnicodeError) as error:  # too many folders, a name that is not valid text
            warn(
                _(
                    "The folders are listed every {seconds} seconds, because: {reason}",
                    seconds=SCAN_INTERVAL,
                    reason=error,
                )
            )
    while True:
        time.sleep(INTERVAL)
        yield ()
