"""Finds the student that captions, as `CAPTIOND_MODEL` says; each step says in one line what it did."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from captioning.download import DownloadError, fetch
from captioning.student import Student, load_student
from captioning.student.errors import StudentError
from common import urls
from common.settings import PROJECT_ROOT, Settings

#: The deployed student's file, in the folder the service is started from or in the project's root.
DEPLOYED = "student_epoch6.pt"

log = logging.getLogger(__name__)


def load(settings: Settings) -> Student:
    """The student that `settings.model` names. `auto` takes the first that loads; the demo is its last resort.

    Raises `StudentError` when a model that was named cannot be loaded.
    """
    if settings.model != "auto":
        return _load(settings.model, settings)
    for source in candidates(settings):
        try:
            return _load(source, settings)
        except StudentError as error:
            log.warning("Not using %s. %s", source, error)
    return _load("demo", settings)


def candidates(settings: Settings) -> Iterator[Path]:
    """The files `auto` tries, best first; the download begins only when it is its turn."""
    placed = [folder / DEPLOYED for folder in dict.fromkeys((Path.cwd(), PROJECT_ROOT))]
    yield from (path for path in placed if path.exists())
    checkpoints = sorted(Path("checkpoints").glob("student_epoch*.pt"), key=lambda path: path.stat().st_mtime)
    yield from reversed(checkpoints)
    target = settings.data.absolute() / "models" / DEPLOYED
    log.info("No %s in the project's root: fetching it from %s ...", DEPLOYED, urls.without_secrets(settings.model_url))
    try:
        yield fetch(settings.model_url, target)
    except DownloadError as error:
        log.warning(
            "The deployed student cannot be fetched: %s. To use it, download it by hand and place it as %s.",
            error,
            PROJECT_ROOT / DEPLOYED,
        )


def _load(source: str | Path, settings: Settings) -> Student:
    student = load_student(
        source,
        processor=settings.processor,
        text_heads=settings.text_heads,
        vision_heads=settings.vision_heads,
    )
    if student.demo:
        log.warning("The bundled demo model captions: small, and often wrong about all but common scenes.")
    log.info("Captioning with %s (%s).", student.name, student.version[:19])
    return student
