"""Check, store and record images: used by the web server, and by workers for the images of an archive."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from redis.exceptions import ConnectionError, TimeoutError

from common import logs, problems
from common.images.sandbox import sandbox
from common.jobs import InputInfo, Job, ModelInfo, new_id
from common.ledger import Ledger, NewJob
from common.logs import Subject
from common.problems import Problem
from common.uploads import UploadStore

#: Characters of a file name, and of a name with folders; the beginning of a longer one is cut off.
MAX_NAME_LENGTH, MAX_CUSTOM_ID_LENGTH = 200, 1000


def check_image(filename: str | None, data: bytes, sha256: str, max_pixels: int) -> InputInfo:
    """Decode an image to check it; raises the problem of an invalid one. `sha256` is the digest of `data`."""
    header = sandbox().check(data, max_pixels)
    return InputInfo(
        filename=clean_filename(filename),
        sha256=sha256,
        bytes=len(data),
        format=header.format,
        width=header.width,
        height=header.height,
    )


def upload_too_large(limit: int) -> Problem:
    """The problem of a file of more than `limit` bytes."""
    return problems.UPLOAD_TOO_LARGE(
        "The file is larger than the limit of {limit} MB. Make the picture smaller, for example by saving it as JPEG, "
        "and send it again.",
        limit=round(limit / 2**20),
    )


def digest(data: bytes) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def create_job(
    ledger: Ledger, uploads: UploadStore, image: InputInfo, data: bytes, models: Sequence[ModelInfo], new_job: NewJob
) -> tuple[Job, bool]:
    """Store a checked image and record its job. A cached caption of one of `models` finishes the job at once.

    Returns the job, and whether it is new rather than one with the same idempotency key. Raises the problems of
    `Ledger.create`, `storage-full`, or `redis.RedisError`. The image is then deleted, unless the job may have been
    recorded.
    """
    known = ((model, ledger.cached_caption(image.sha256, model.version, new_job.options)) for model in models)
    cached = next(((model, output) for model, output in known if output), None)
    job_id = new_id()
    with logs.about(Subject(job_id, new_job.batch, new_job.traceparent)):
        uploads.save(job_id, data)
        try:
            job = ledger.create(job_id, replace(new_job, input=image, cached=cached))
        except (ConnectionError, TimeoutError):
            # Redis may have recorded the job before its reply was lost. The recovery deletes unreferenced uploads.
            raise
        except BaseException:
            uploads.delete(job_id)
            raise
        is_new = job.id == job_id
        if not is_new:  # a concurrent request with the same key created its job first
            uploads.delete(job_id)
    return job, is_new


def clean_filename(filename: str | None) -> str:
    """Base name without control characters, at most `MAX_NAME_LENGTH` characters; `picture` if nothing is left."""
    return _printable((filename or "").replace("\\", "/").rsplit("/", 1)[-1])[-MAX_NAME_LENGTH:] or "picture"


def clean_path(filename: str | None) -> str:
    """A file name with its folders, as a `custom_id`: a relative path without `..` and control characters."""
    parts = [_printable(part) for part in (filename or "").replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part not in ("", ".", ".."))[-MAX_CUSTOM_ID_LENGTH:] or "picture"


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable()).strip()
