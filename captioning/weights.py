"""Loads the student that `CAPTIOND_MODEL` names. Each step logs one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from captioning.download import DownloadError, fetch
from captioning.errors import StudentError
from captioning.student import Student, load_student
from common import urls
from common.settings import PROJECT_ROOT, Settings

#: File name of the deployed student, in the working directory or in the project's root.
DEPLOYED = "student_epoch6.pt"

log = logging.getLogger(__name__)


def load(settings: Settings) -> Student:
    """Load the student that `settings.model` names. `auto` takes the first candidate that loads, at last the demo.

    Raises `StudentError` if an explicitly named model cannot be loaded.
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
    """Yield the files that `auto` tries, best first. The download starts only when the files before it have failed."""
    local = [folder / DEPLOYED for folder in dict.fromkeys((Path.cwd(), PROJECT_ROOT))]
    yield from (path for path in local if path.exists())
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
        log.warning(
            "Using the bundled demo model. It is small and often wrong about less common scenes. Place %s in %s, or "
            "name another model with CAPTIOND_MODEL, and start the service again.",
            DEPLOYED,
            PROJECT_ROOT,
        )
    log.info("Captioning with %s (%s).", student.name, student.version[:19])
    return student
