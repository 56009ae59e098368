"""Downloads the deployed student's weights, and verifies them before they get their file name."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path

import gdown
from filelock import FileLock

from common import strict_json

#: Connect and read timeouts in seconds. They are short because a machine without a network must be ready soon.
TIMEOUTS = (5.0, 30.0)
#: Retries after a broken connection. Each continues where the last one stopped.
RETRIES = 3
#: Seconds after a failed download before it is tried again, so that not every restart waits for it.
RETRY_DELAY = 3600.0
#: Seconds between two log lines about a running download.
PROGRESS_INTERVAL = 5.0
#: Plausible file valid_sizes in bytes. The smallest useful student has a few million parameters.
VALID_SIZES = range(10 * 2**20, 2 * 2**30)
#: Longest quote of another library's error message, in characters.
MAX_REASON_LENGTH = 300
#: Part of gdown's error when a download cannot be resumed: the file has changed, or the server has no range requests.
NOT_RESUMABLE = "byte range"
#: First bytes of a `.pt` file, which is a zip archive.
MAGIC = b"PK"

log = logging.getLogger(__name__)


class DownloadError(Exception):
    """The download failed; the message is the reason."""


def fetch(url: str, path: Path, *, valid_sizes: range = VALID_SIZES, retry_delay: float = RETRY_DELAY) -> Path:
    """Download `url` to `path` on the first call, and verify the file's SHA-256 on later calls. Returns `path`.

    A lock lets one process download while others wait. An interrupted download is resumed. The file gets its name
    only when its size and format are right. Raises `DownloadError`.
    """
    try:
        return _fetch(url, path, valid_sizes, retry_delay)
    except OSError as error:
        raise DownloadError(f"it cannot be saved in {path.parent} ({error.strerror})") from error


def _fetch(url: str, path: Path, valid_sizes: range, retry_delay: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            _verify(path)
            return path
        failed = path.with_suffix(".failed")
        if failed.exists() and time.time() - failed.stat().st_mtime < retry_delay:
            raise DownloadError(
                f"the last attempt failed less than {retry_delay / 60:.0f} minutes ago: {failed.read_text()}"
            )
        try:
            digest = _download(url, path, valid_sizes)
        except DownloadError as error:
            failed.write_text(str(error), encoding="utf-8")
            raise
        failed.unlink(missing_ok=True)
        _metadata_path(path).write_text(strict_json.dumps({"url": url, "sha256": digest}) + "\n", encoding="utf-8")
        return path


def _metadata_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _download(url: str, path: Path, valid_sizes: range) -> str:
    partial = path.with_suffix(".arriving")
    try:
        _receive(url, partial)
    except DownloadError as error:
        parts = list(path.parent.glob(f"{partial.name}*.part"))
        if not (NOT_RESUMABLE in str(error) and parts):
            raise
        log.info("The download cannot be resumed; starting again.")
        for part in parts:
            part.unlink()
        _receive(url, partial)
    problem = _invalid_reason(partial, valid_sizes)
    if problem:
        partial.unlink()
        raise DownloadError(problem)
    digest = _sha256(partial)
    partial.replace(path)
    return digest


def _receive(url: str, partial: Path) -> None:
    try:
        gdown.download(
            url,
            str(partial),
            quiet=True,
            resume=True,
            timeout=TIMEOUTS,
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
    return text[:MAX_REASON_LENGTH]


class _Progress:
    """Logs a download's progress in lines, because a progress bar is unreadable in a log file."""

    def __init__(self) -> None:
        self._last_logged = time.monotonic()

    def __call__(self, received: int, expected: int | None) -> None:
        if time.monotonic() - self._last_logged >= PROGRESS_INTERVAL:
            self._last_logged = time.monotonic()
            log.info(
                "Downloaded %.0f MB of %s.",
                received / 1e6,
                f"{expected / 1e6:.0f} MB" if expected else "the file",
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _invalid_reason(file: Path, valid_sizes: range) -> str | None:
    """Return why a downloaded file is not a student, or None."""
    with file.open("rb") as stream:
        start = stream.read(512)
    if start.lstrip()[:1] == b"<":
        return "the server sent a web page: the file's download quota is used up, or it is not shared any more"
    if not start.startswith(MAGIC):
        return "the downloaded file is not a PyTorch file"
    size = file.stat().st_size
    if size not in valid_sizes:
        return f"the downloaded file has {size:,} bytes, which is not the size of a student"
    return None


def _verify(path: Path) -> None:
    try:
        expected = json.loads(_metadata_path(path).read_text(encoding="utf-8"))["sha256"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return  # a file that was placed by hand has no metadata
    if _sha256(path) != expected:
        raise DownloadError(f"{path} has changed since it was downloaded; delete it to download it again")
