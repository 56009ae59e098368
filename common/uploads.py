"""Store of uploaded images: a local folder by default, or any fsspec URL (`s3://…`) for several machines."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from common import problems
from common.files import DISK_FULL_ERRNOS, PRIVATE_MODE, TEMPORARY_SUFFIX, atomic_write, write_problem
from common.problems import Problem
from common.translation import _

log = logging.getLogger(__name__)


#: Number of folders that the images are distributed over. A folder's name is the last two characters of the ids.
FOLDERS = 256
#: Matches the file name of an image or of a temporary file, and captures the job id.
_ID_IN_NAME = re.compile(rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})(?:{re.escape(TEMPORARY_SUFFIX)})?")


class UploadsUnavailable(Problem):
    """The store does not answer, or answers with an unexpected error. A later request may succeed."""

    def __init__(self) -> None:
        super().__init__(
            problems.UPLOADS_UNAVAILABLE,
            _("The store of uploaded pictures does not answer at the moment. Send the request again later."),
        )


class UploadStore:
    """Uploaded images by job id. Writes are atomic.

    Methods raise `UploadsUnavailable`.
    """

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._local = "file" in self._files.protocol
        self._unavailable = False

    def create(self) -> None:
        """Create the store's folder. Errors are logged.

        `save` never creates it, because a missing folder may be a file share that is not mounted, and images below its
        mount point would be hidden later.
        """
        if self._local:
            with contextlib.suppress(UploadsUnavailable), self._store_errors():
                Path(self._root).mkdir(parents=True, exist_ok=True)

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

    def load(self, job_id: str, sha256: str | None = None) -> bytes:
        """Return the image's bytes, and verify their SHA-256 if it is given.

        Raises `upload-lost` if the store answers that the image does not exist.
        """
        path = self._path(job_id)
        with self._store_errors():
            try:
                data: bytes = self._files.cat_file(path)
            except FileNotFoundError as error:
                if not self._has_container_of(path) or self._files.exists(path):
                    raise  # the store was unavailable; the image may exist
                raise problems.UPLOAD_LOST(
                    "The picture was accepted, but its file does not exist any more. Send it again."
                ) from error
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

    def _has_container_of(self, path: str) -> bool:
        """Return whether the image's folder (on a disk) or bucket (of an object store) exists.

        It does not if a file share is not mounted, or if this is not the store in which the image was saved.
        """
        self._files.invalidate_cache()
        container = path.rsplit("/", 1)[0] if self._local else self._root.lstrip("/").split("/")[0]
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
                log.warning("The upload store does not answer (%s: %s).", type(error).__name__, error)
            self._unavailable = True
            raise UploadsUnavailable from error
        self._unavailable = False

    def _path(self, job_id: str) -> str:
        # The last characters of a UUIDv7 are random, so the folders fill evenly.
        return f"{self._root}/{job_id[-2:]}/{job_id}"
