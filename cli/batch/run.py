"""One run of `captiond batch`: finds the images, captions them, writes the captions and shows progress."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache, partial
from pathlib import Path

from filelock import FileLock, Timeout

from captioning.captioner import ModelUnavailable, load_captioner, require_server
from captioning.errors import StudentError
from captioning.stream import caption_stream
from cli.batch import BatchError
from cli.batch.journal import Caption, Journal
from cli.batch.manifest import caption_manifest
from cli.batch.options import Options
from cli.batch.outputs import Output
from cli.batch.progress import Progress
from cli.batch.remote import OUTAGE_TIMEOUT, RemoteCaptioner, Service
from cli.batch.sources import Source, find, left_out, without_raw_twins
from cli.output import local, warn
from common import jobs, strict_json
from common.problems import Problem
from common.settings import Settings
from common.translation import _, ngettext

#: Captions that are written and synced to the disk together, and the seconds after which fewer are.
WRITE_SIZE, WRITE_INTERVAL = 32, 2.0

Captioner = Callable[[Iterable[Source]], Iterator[tuple[Source, jobs.Output | Problem]]]


def batch(settings: Settings, options: Options) -> int:
    """Caption the named images. Return 0 for success, 1 for a failure, 2 for invalid options, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    if wrong := options.wrong():
        warn(wrong)
        return 2
    try:
        if options.manifest is not None:
            return exit_code(lambda: caption_manifest(options, Service(options.url or "", options.key)))
        return exit_code(lambda: _find_and_caption(settings, options))
    except KeyboardInterrupt:
        warn(_("Stopped. Run the same command again to continue."))
        return 130


def exit_code(action: Callable[[], int]) -> int:
    """The exit code of `action`, or 1 with a message when it cannot caption or cannot write its captions."""
    try:
        return action()
    except (BatchError, ModelUnavailable) as error:
        warn(error)
    except BrokenPipeError:  # of standard output
        raise
    except OSError as error:  # of an output or the journal: no permission, no such folder, the disk is full
        name = error.filename or _("The captions")
        warn(_("{name} cannot be written: {reason}.", name=name, reason=error.strerror))
    return 1


def _find_and_caption(settings: Settings, options: Options) -> int:
    found = find(options.paths, recursive=options.recursive)
    sources = without_raw_twins(found, found)
    if len(sources) < len(found):
        warn(left_out(len(found) - len(sources)))
    return _dry_run(options, sources) if options.dry_run else _batch(settings, options, sources)


class Run:
    """Captions images and writes them to an output, for `captiond batch` and `captiond watch`."""

    def __init__(self, options: Options, output: Output, journal: Journal, captioner: Callable[[], Captioner]) -> None:
        """`captioner` loads the model. It may raise `BatchError`, and is called when images are there to caption."""
        self.output = output
        self.resumed = {caption.image for caption in journal.captions}
        self._options = options
        self._journal = journal
        self._captioner = captioner

    def resume(self) -> dict[str, Problem]:
        """Write the captions that a stopped run left in the journal. Returns problems as `Output.write` does."""
        return self.output.write(self._journal.captions)

    def load(self) -> None:
        """Load the model, which `caption` else does when there is the first image. Raises `BatchError`."""
        self._captioner()

    def caption(self, sources: Sequence[Source]) -> Iterator[tuple[str, Caption | Problem]]:
        """Each image with its caption, once that is written, or with its problem. To be read to the end."""
        results = self._captioner()(sources) if sources else iter(())
        group: list[Caption] = []
        started = time.monotonic()
        for source, result in results:
            planned = self._plan(source, result)
            if isinstance(planned, Problem):
                yield source.location, planned
                continue
            group.append(planned)
            if len(group) >= WRITE_SIZE or time.monotonic() - started > WRITE_INTERVAL:
                yield from self._write(group)
                group, started = [], time.monotonic()
        yield from self._write(group)
        self.output.flush()
        self._journal.delete()

    def _plan(self, source: Source, result: jobs.Output | Problem) -> Caption | Problem:
        if isinstance(result, Problem):
            return result
        try:
            text = self._options.text(result.caption)
            translated = result.translated.caption if result.translated else None
            caption = Caption(source.location, text, result.score, result.confidence, result.unsure, translated)
            return self.output.plan(source, caption)
        except Problem as problem:  # of the sidecar that is there
            return problem

    def _write(self, group: Sequence[Caption]) -> Iterator[tuple[str, Caption | Problem]]:
        if not group:
            return
        self._journal.add(group)
        refused = self.output.write(group)
        for caption in group:
            yield caption.image, refused.get(caption.image, caption)


@contextmanager
def running(settings: Settings, options: Options, *, patience: float = OUTAGE_TIMEOUT) -> Iterator[Run]:
    """A run, whose output is closed at the end. `patience` is that of `RemoteCaptioner` and `caption_stream`.

    Raises `BatchError`, also while another run writes to the same output.
    """
    if options.out:
        target = str(options.out.absolute())
    else:
        target = f"{Path.cwd()} {options.paths} {options.sidecars or 'embed'}"
    folder = settings.data.absolute() / "batches"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(folder / f"{_digest(target)}.lock", timeout=0).acquire()
    except Timeout as error:
        raise BatchError(_("Another captiond batch or watch writes these captions now.")) from error
    with held, closing(options.output()) as output:
        journal = Journal(folder / f"{_digest(target, options.existing, options.template, options.alt_text)}.jsonl")
        yield Run(options, output, journal, cache(partial(_load, settings, options, patience)))


def _digest(*values: object) -> str:
    return hashlib.sha256(strict_json.dumps(values).encode()).hexdigest()[:16]


def _load(settings: Settings, options: Options, patience: float) -> Captioner:
    if options.url:
        return RemoteCaptioner(options.url, options.key, model=options.model, patience=patience).captions
    try:
        captioner = load_captioner(settings)
        require_server(captioner)
    except StudentError as error:
        raise BatchError(error.args[0]) from error
    return lambda sources: caption_stream(captioner, sources, Source.read, settings.max_batch, patience)


def _missing(options: Options, sources: list[Source], output: Output, done: set[str]) -> list[Source]:
    """The images to caption."""
    for source in sources:
        output.check(source)
    skips = options.existing == "skip"
    missing = [each for each in sources if each.location not in done and not (skips and output.has(each))]
    return missing[: options.limit]


def _dry_run(options: Options, sources: list[Source]) -> int:
    with closing(options.output()) as output:
        missing = _missing(options, sources, output, set())
    for source in missing:
        print(source.location)
    warn(
        ngettext(
            "{missing} of {count} image would be captioned.",
            "{missing} of {count} images would be captioned.",
            len(sources),
            missing=len(missing),
        )
    )
    return 0


def _batch(settings: Settings, options: Options, sources: list[Source]) -> int:
    with running(settings, options) as run:
        failed = run.resume()
        missing = _missing(options, sources, run.output, run.resumed)
        if run.resumed:
            warn(
                ngettext(
                    "Continuing a stopped run, with {count} caption.",
                    "Continuing a stopped run, with {count} captions.",
                    len(run.resumed),
                )
            )
        captioned = 0
        progress = Progress(len(missing))
        for image, result in run.caption(missing):
            progress.add()
            if isinstance(result, Problem):
                failed[image] = result
            else:
                captioned += 1
        progress.close()
    for image, problem in failed.items():
        warn(f"{image}: {local(problem)}")
    skipped = len(sources) - len(missing)
    warn(
        _(
            "{captioned} captioned, {failed} failed, {skipped} there already or left out.",
            captioned=captioned,
            failed=len(failed),
            skipped=skipped,
        )
    )
    return int(bool(failed))
