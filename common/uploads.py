"""The store of uploaded pictures: a local folder by default, any fsspec URL (`s3://…`) for several machines."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

import fsspec

from common import problems

#: What the operating system says when there is no room: disk full, or quota used up.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class UploadStore:
    """Pictures by job id. A picture is there whole or not at all, whichever process dies while saving it."""

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._local = "file" in self._files.protocol

    def save(self, job_id: str, data: bytes) -> None:
        """Keep `data` under `job_id`; raises `storage-full`, after removing what was written."""
        path = self._path(job_id)
        try:
            if self._local:
                _write_whole(Path(path), data)
            else:
                self._files.pipe_file(path, data)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise problems.STORAGE_FULL(
                "The server's disk is full. The picture was not kept; send it again when there is room."
            ) from error

    def load(self, job_id: str) -> bytes:
        """The picture's bytes; raises `upload-lost` when they cannot be had."""
        try:
            data: bytes = self._files.cat_file(self._path(job_id))
        except OSError as error:
            raise problems.UPLOAD_LOST(
                "The picture was accepted, but its file cannot be read any more. Send it again."
            ) from error
        return data

    def delete(self, job_id: str) -> None:
        """Remove the picture; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(job_id))

    def _path(self, job_id: str) -> str:
        # The last characters of a UUIDv7 are random, so the folders fill evenly.
        return f"{self._root}/{job_id[-2:]}/{job_id}"


def _write_whole(path: Path, data: bytes) -> None:
    """Write through a temporary file in the same folder, synced before it gets its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".saving-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
