"""Store of uploaded images and archives: a local folder, or any fsspec URL (`s3://…`) for several machines."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import fsspec

from common import problems
from common.files import DISK_FULL_ERRNOS, PRIVATE_MODE, TEMPORARY_SUFFIX, atomic_write, write_problem
from common.problems import Problem
from common.translation import _

log = logging.getLogger(__name__)


#: Number of folders that the images are distributed over. A folder's name is the last two characters of the ids.
FOLDERS = 256
#: Bytes of each read while a stream is copied to the store.
CHUNK_BYTES = 2**20
#: Bytes that are read ahead from an object store.
READ_AHEAD = 4 * 2**20
#: Matches the file name of an image or of a temporary file, and captures the job id.
_ID_IN_NAME = re.compile(rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})(?:{re.escape(TEMPORARY_SUFFIX)})?")


class UploadsUnavailable(Problem):
    """The store does not answer, or answers with an unexpected error. A later request may succeed."""

    def __init__(self) -> None:
        super().__init__(
            problems.UPLOADS_UNAVAILABLE,
            _("The store of uploaded pictures does not answer at the moment. Send the request again later."),
        )


class Store:
    """A folder of files at an fsspec URL. Methods raise `UploadsUnavailable`."""

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._local = "file" in self._files.protocol
        self._unavailable = False

    def create(self) -> None:
        """Create the store's folder. Errors are logged.

        Writing never creates it, because a missing folder may be a file share that is not mounted, and files below its
        mount point would be hidden later.
        """
        if self._local:
            with contextlib.suppress(UploadsUnavailable), self._store_errors():
                Path(self._root).mkdir(parents=True, exist_ok=True)

    def _open(self, path: str) -> StoredFile:
        """Open a file of the file system for reading. Raises its errors."""
        file = self._files.open(path, "rb", block_size=READ_AHEAD, cache_type="readahead")
        return StoredFile(file, self._store_errors)

    def _has_container(self, folder: str) -> bool:
        """Whether `folder` (on a disk) or the bucket (of an object store) exists.

        It does not if a file share is not mounted, or if this is not the store in which a file was saved.
        """
        self._files.invalidate_cache()
        container = folder if self._local else self._root.lstrip("/").split("/")[0]
        return bool(self._files.exists(container))

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Convert a file system's errors to problems. The libraries behind fsspec do not only raise `OSError`."""
        try:
            yield
        except Problem:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
                raise write_problem(error) from error
            if not self._unavailable:  # log once per outage
                log.warning("The store %s does not answer (%s: %s).", self._root, type(error).__name__, error)
            self._unavailable = True
            raise UploadsUnavailable from error
        self._unavailable = False


class UploadStore(Store):
    """Uploaded images by job id, and archives by the id of their batch. Writes are atomic.

    Methods raise `UploadsUnavailable`.
    """

    def check(self) -> None:
        """Raise `UploadsUnavailable` or `storage-full` unless the store takes files now.

        A folder is written to. Of an object store only the bucket is requested, because a bucket that keeps versions
        would keep each object written here.
        """
        with self._store_errors():
            if self._local:
                probe = Path(self._root) / "probe"
                probe.write_bytes(b"1")
                probe.unlink(missing_ok=True)
            elif not self._has_container(self._root):
                raise FileNotFoundError(self._root)

    def save(self, job_id: str, data: bytes) -> None:
        """Store `data` under `job_id`. Raises `storage-full`, after removing what was written."""
        path = self._path(job_id)
        with self._store_errors():
            if self._local:
                Path(path).parent.mkdir(exist_ok=True)
                with atomic_write(Path(path), PRIVATE_MODE) as file:
                    file.write(data)
            else:
                self._files.pipe_file(path, data)

    def save_stream(self, batch_id: str, stream: IO[bytes]) -> int:
        """Store the rest of `stream` under `batch_id`, in pieces; return its size in bytes. Raises `storage-full`."""
        path, size = self._path(batch_id), 0
        with self._store_errors():
            if self._local:
                Path(path).parent.mkdir(exist_ok=True)
            with atomic_write(Path(path), PRIVATE_MODE) if self._local else self._files.open(path, "wb") as file:
                for chunk in iter(partial(stream.read, CHUNK_BYTES), b""):
                    file.write(chunk)
                    size += len(chunk)
        return size

    @contextmanager
    def open(self, batch_id: str) -> Iterator[StoredFile]:
        """Open a stored archive for reading. Raises `upload-lost` if the store answers that it does not exist."""
        path = self._path(batch_id)
        with self._store_errors(), self._lost_if_missing(path):
            file = self._open(path)
        with file:
            yield file

    def load(self, job_id: str, sha256: str | None = None) -> bytes:
        """Return the image's bytes, and verify their SHA-256 if it is given.

        Raises `upload-lost` if the store answers that the image does not exist.
        """
        path = self._path(job_id)
        with self._store_errors():
            with self._lost_if_missing(path):
                data: bytes = self._files.cat_file(path)
            if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
                raise OSError(f"the {len(data)} bytes of {path} are not those that were saved")
        return data

    def delete(self, job_id: str) -> None:
        """Delete the image. A missing one is no error."""
        self.delete_file(self._path(job_id))

    def list_files(self, folder: int) -> list[tuple[str, str]]:
        """Return job id and path of every file in a folder (0 to `FOLDERS` - 1), including temporary files."""
        path = f"{self._root}/{folder:02x}"
        with self._store_errors():
            self._files.invalidate_cache(path)
            try:
                paths = self._files.ls(path, detail=False)
            except FileNotFoundError:
                return []
        named = ((_ID_IN_NAME.fullmatch(path.rsplit("/", 1)[-1]), path) for path in paths)
        return [(name[1], path) for name, path in named if name]

    def delete_file(self, path: str) -> None:
        """Delete a file that `list_files` returned. A missing one is no error."""
        with self._store_errors(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(path)

    @contextmanager
    def _lost_if_missing(self, path: str) -> Iterator[None]:
        """Convert `FileNotFoundError` to `upload-lost`, unless the store is unavailable and the file may exist."""
        try:
            yield
        except FileNotFoundError as error:
            if not self._has_container(path.rsplit("/", 1)[0]) or self._files.exists(path):
                raise
            raise problems.UPLOAD_LOST(
                "The file was accepted, but it does not exist any more. Send it again."
            ) from error

    def _path(self, job_id: str) -> str:
        # The last characters of a UUIDv7 are random, so the folders fill evenly.
        return f"{self._root}/{job_id[-2:]}/{job_id}"


class StoredFile(io.RawIOBase):
    """A file of the store that is open for reading. Methods raise `UploadsUnavailable`."""

    def __init__(self, file: IO[bytes], store_errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._store_errors = store_errors

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        with self._store_errors():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._store_errors():
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def size(self) -> int:
        """Size in bytes; moves to the end of the file."""
        return self.seek(0, os.SEEK_END)

    def close(self) -> None:
        self._file.close()
        super().close()
