"""One run of `captiond batch`: finds the images, captions them, writes the captions and shows progress."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cli.batch import BatchError
from cli.batch.journal import Caption, Journal
from cli.batch.outputs import Existing, Output, Sidecars, TableFile
from cli.batch.remote import RemoteCaptioner
from cli.batch.sources import Source, find
from cli.output import local, warn
from common import jobs, strict_json
from common.problems import Problem
from common.settings import Settings
from common.translation import Message, _, ngettext

#: Captions that are written and synced to the disk together, and the seconds after which fewer are.
WRITE_SIZE, WRITE_INTERVAL = 32, 2.0
#: Seconds between two lines of progress where there is no terminal.
LINE_INTERVAL = 10.0
#: The part of a template that the caption replaces.
PLACEHOLDER = "{caption}"

Results = Iterator[tuple[Source, jobs.Output | Problem]]


@dataclass(frozen=True)
class Options:
    """What the command line asks for; either `out` or `sidecars` is set, and `url` for a running service."""

    paths: list[str]
    recursive: bool = False
    out: Path | None = None
    sidecars: str | None = None
    existing: Existing = "skip"
    template: str = PLACEHOLDER
    limit: int | None = None
    dry_run: bool = False
    url: str | None = None
    key: str | None = None


def batch(settings: Settings, options: Options) -> int:
    """Caption the named images. Return 0 for success, 1 for a failure, 2 for invalid options, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    wrong = _wrong(options)
    if wrong:
        warn(wrong)
        return 2
    try:
        sources = find(options.paths, recursive=options.recursive)
        if options.dry_run:
            return _dry_run(options, sources)
        return _run(settings, options, sources)
    except BatchError as error:
        warn(error)
        return 1
    except OSError as error:  # of an output or the journal: no permission, no such folder, the disk is full
        name = error.filename or _("The captions")
        warn(_("{name} cannot be written: {reason}.", name=name, reason=error.strerror))
        return 1
    except KeyboardInterrupt:
        warn(_("Stopped. Run the same command again to continue."))
        return 130


def _wrong(options: Options) -> Message | None:
    """An error message for invalid options, else None."""
    if (options.out is None) == (options.sidecars is None):
        return _("Give one of --out FILE, --sidecars SUFFIX and --xmp, for where the captions go.")
    if options.out and options.existing in ("append", "prepend"):
        return _(
            "--existing {mode} is for --sidecars; a row of --out is skipped or overwritten.", mode=options.existing
        )
    if options.sidecars and not (options.sidecars.startswith(".") and len(options.sidecars) > 1):
        return _("--sidecars takes a suffix such as .txt, and not {suffix}.", suffix=options.sidecars)
    if options.template.count(PLACEHOLDER) != 1:
        return _(
            "--template must have {placeholder} once, such as 'a photo of {placeholder}'.", placeholder=PLACEHOLDER
        )
    if options.limit is not None and options.limit < 1:
        return _("--limit must be 1 or more.")
    return None


def _output(options: Options, sources: list[Source]) -> Output:
    if options.out is not None:
        return TableFile(options.out, overwrite=options.existing == "overwrite")
    assert options.sidecars is not None
    sidecars = Sidecars(options.sidecars, options.existing)
    sidecars.check(sources)
    return sidecars


def _missing(options: Options, sources: list[Source], output: Output, done: set[str]) -> list[Source]:
    """The images to caption."""
    skips = options.existing == "skip"
    missing = [each for each in sources if each.location not in done and not (skips and output.has(each))]
    return missing[: options.limit]


def _dry_run(options: Options, sources: list[Source]) -> int:
    output = _output(options, sources)
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


def _run(settings: Settings, options: Options, sources: list[Source]) -> int:
    path = _journal_path(settings, options)
    output = _output(options, sources)
    journal = Journal(path)
    try:
        output.write(journal.captions)
        missing = _missing(options, sources, output, {caption.image for caption in journal.captions})
        skipped = len(sources) - len(missing)
        if journal.captions:
            warn(
                ngettext(
                    "Continuing a stopped run, with {count} caption.",
                    "Continuing a stopped run, with {count} captions.",
                    len(journal.captions),
                )
            )
        progress = Progress(len(missing))
        failed: list[tuple[Source, Problem]] = []
        captions = _captions(_results(settings, options, missing), options, output, failed, progress)
        for group in _groups(captions):
            journal.add(group)
            output.write(group)
        progress.close()
    finally:
        output.close()
    journal.delete()
    for source, problem in failed:
        warn(f"{source.location}: {local(problem)}")
    warn(
        _(
            "{captioned} captioned, {failed} failed, {skipped} there already or left out.",
            captioned=len(missing) - len(failed),
            failed=len(failed),
            skipped=skipped,
        )
    )
    return int(bool(failed))


def _journal_path(settings: Settings, options: Options) -> Path:
    """The journal of this run: that of the same paths and the same output, from whatever folder."""
    target = str(options.out.absolute()) if options.out else f"{Path.cwd()} {options.paths} {options.sidecars}"
    key = strict_json.dumps([target, options.existing, options.template])
    return settings.data.absolute() / "batches" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl"


def _results(settings: Settings, options: Options, sources: list[Source]) -> Results:
    if not sources:
        return iter(())
    if options.url:
        return RemoteCaptioner(options.url, options.key).captions(sources)
    # torch takes seconds to import, and only this needs it.
    from captioning.captioner import load_captioner
    from captioning.stream import caption_stream
    from captioning.student.errors import StudentError

    try:
        captioner = load_captioner(settings)
    except StudentError as error:
        raise BatchError(error.args[0]) from error
    return caption_stream(captioner, sources, Source.read, settings.max_batch)


def _captions(
    results: Results, options: Options, output: Output, failed: list[tuple[Source, Problem]], progress: Progress
) -> Iterator[Caption]:
    """The captions to write. `failed` collects the images without one."""
    for source, result in results:
        progress.add()
        if isinstance(result, Problem):
            failed.append((source, result))
            continue
        text = options.template.replace(PLACEHOLDER, result.caption)
        try:
            yield output.plan(source, Caption(source.location, text, result.score))
        except Problem as problem:  # of the sidecar that is there
            failed.append((source, problem))


def _groups(captions: Iterable[Caption]) -> Iterator[list[Caption]]:
    """Group captions: `WRITE_SIZE` of them, or those of `WRITE_INTERVAL` seconds."""
    group: list[Caption] = []
    started = time.monotonic()
    for caption in captions:
        group.append(caption)
        if len(group) >= WRITE_SIZE or time.monotonic() - started > WRITE_INTERVAL:
            yield group
            group, started = [], time.monotonic()
    if group:
        yield group


class Progress:
    """Progress on standard error: a bar on a terminal, else a line every `LINE_INTERVAL` seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._started = self._shown = time.monotonic()
        self._bar = tqdm(total=total, unit=local(_("image")), file=sys.stderr, disable=not sys.stderr.isatty())

    def add(self) -> None:
        """Count an image."""
        self._count += 1
        self._bar.update()
        now = time.monotonic()
        if self._bar.disable and now - self._shown > LINE_INTERVAL:
            self._shown = now
            rate = self._count / (now - self._started)
            left = (self._total - self._count) / rate
            warn(
                ngettext(
                    "{done} of {count} image, {rate} a second, {seconds} s left",
                    "{done} of {count} images, {rate} a second, {seconds} s left",
                    self._total,
                    done=self._count,
                    rate=round(rate, 1),
                    seconds=round(left),
                )
            )

    def close(self) -> None:
        self._bar.close()
