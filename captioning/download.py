"""Fetches the deployed student's weights: whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path

import gdown
from filelock import FileLock

from common import strict_json

#: Seconds to wait for a connection, and between two bytes. A machine without a network must be ready soon.
TIMEOUT = (5.0, 30.0)
#: Further tries of a connection that breaks, each going on where the last one stopped.
RETRIES = 3
#: Seconds after a failed try in which it is not repeated, so that restarts do not wait for it each time.
PAUSE = 3600.0
#: Seconds between two lines about a download under way.
PROGRESS_EVERY = 5.0
#: Smaller files are no student (the smallest useful one has some millions of parameters), larger ones no 6 + 6.
SIZES = range(10 * 2**20, 2 * 2**30)
#: Most characters of a foreign error that are repeated.
REASON_LENGTH = 300
#: What gdown says when the file has changed since the download began, or the server continues none.
NOT_CONTINUED = "byte range"
#: A `.pt` is a zip archive.
MAGIC = b"PK"

log = logging.getLogger(__name__)


class DownloadError(Exception):
    """The weights cannot be had; the message says why."""


def fetch(url: str, path: Path, *, sizes: range = SIZES, pause: float = PAUSE) -> Path:
    """The file of `url` at `path`, downloaded on the first call and checked against its SHA-256 on later ones.

    One process downloads while others wait for it. A broken download is continued, and the file gets its name
    only when size and format are right. Raises `DownloadError`.
    """
    try:
        return _fetch(url, path, sizes, pause)
    except OSError as error:
        raise DownloadError(f"it cannot be kept in {path.parent} ({error.strerror})") from error


def _fetch(url: str, path: Path, sizes: range, pause: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            _verify(path)
            return path
        failed = path.with_suffix(".failed")
        if failed.exists() and time.time() - failed.stat().st_mtime < pause:
            raise DownloadError(f"the last try failed less than {pause / 60:.0f} minutes ago: {failed.read_text()}")
        try:
            digest = _download(url, path, sizes)
        except DownloadError as error:
            failed.write_text(str(error), encoding="utf-8")
            raise
        failed.unlink(missing_ok=True)
        _record(path).write_text(strict_json.dumps({"url": url, "sha256": digest}) + "\n", encoding="utf-8")
        return path


def _record(path: Path) -> Path:
    return path.with_suffix(".json")


def _download(url: str, path: Path, sizes: range) -> str:
    arriving = path.with_suffix(".arriving")
    try:
        _receive(url, arriving)
    except DownloadError as error:
        parts = list(path.parent.glob(f"{arriving.name}*.part"))
        if not (NOT_CONTINUED in str(error) and parts):
            raise
        log.info("The download cannot be continued where it stopped; starting anew.")
        for part in parts:
            part.unlink()
        _receive(url, arriving)
    problem = _wrong(arriving, sizes)
    if problem:
        arriving.unlink()
        raise DownloadError(problem)
    digest = _sha256(arriving)
    arriving.replace(path)
    return digest


def _receive(url: str, arriving: Path) -> None:
    try:
        gdown.download(
            url,
            str(arriving),
            quiet=True,
            resume=True,
            timeout=TIMEOUT,
            retries=RETRIES,
            use_cookies=False,
            progress=_Progress(),
        )
    except Exception as error:  # gdown raises its own errors, requests' and OSError
        raise DownloadError(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "Max retries exceeded" in text or "timed out" in text:
        return "its server cannot be reached from this machine"
    return text[:REASON_LENGTH]


class _Progress:
    """Logs how far a download is; a bar would not survive a log file."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, arrived: int, expected: int | None) -> None:
        if time.monotonic() - self._said >= PROGRESS_EVERY:
            self._said = time.monotonic()
            log.info(
                "%.0f MB of %s are here.",
                arrived / 1e6,
                f"{expected / 1e6:.0f} MB" if expected else "the file",
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(file: Path, sizes: range) -> str | None:
    """What is wrong with a downloaded file, None if nothing."""
    with file.open("rb") as opened:
        start = opened.read(512)
    if start.lstrip()[:1] == b"<":
        return "a web page came instead of the file: its download quota is used up, or it is not shared any more"
    if not start.startswith(MAGIC):
        return "what came is no PyTorch file"
    size = file.stat().st_size
    if size not in sizes:
        return f"what came has {size:,} bytes, which is no student's size"
    return None


def _verify(path: Path) -> None:
    try:
        expected = json.loads(_record(path).read_text(encoding="utf-8"))["sha256"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return  # placed by hand: there is nothing to compare with
    if _sha256(path) != expected:
        raise DownloadError(f"{path} has changed since it was downloaded; delete it to have it fetched again")
