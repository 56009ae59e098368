"""The store of uploaded pictures: a local folder by default, any fsspec URL (`s3://…`) for several machines."""

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

log = logging.getLogger(__name__)


#: Folders that the pictures are spread over, named by the last two characters of their ids.
FOLDERS = 256
#: The id in the name of any file here, those that are not whole too.
_ID_IN_NAME = re.compile(rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})(?:{re.escape(TEMPORARY_SUFFIX)})?")


class UploadsUnavailable(Problem):
    """The store does not answer, or answers something else than it should; it may do better later."""

    def __init__(self) -> None:
        super().__init__(
            problems.UPLOADS_UNAVAILABLE,
            "The store of uploaded pictures does not answer at the moment. Send the request again later.",
        )


class UploadStore:
    """Uploaded images by job id. An image is there whole or not at all, whichever process dies while saving it.

    Methods raise `UploadsUnavailable`.
    """

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._local = "file" in self._files.protocol
        self._away = False

    def create(self) -> None:
        """Make the store's folder. Later calls never make it again: a folder that is gone may be a file share that is
        not mounted at the moment, below which an image would be kept out of sight. What cannot be made is logged.
        """
        if self._local:
            with contextlib.suppress(UploadsUnavailable), self._answering():
                Path(self._root).mkdir(parents=True, exist_ok=True)

    def save(self, job_id: str, data: bytes) -> None:
        """Keep `data` under `job_id`; raises `storage-full`, after removing what was written."""
        path = self._path(job_id)
        with self._answering():
            if self._local:
                Path(path).parent.mkdir(exist_ok=True)
                with atomic_write(Path(path), PRIVATE_MODE) as file:
                    file.write(data)
            else:
                self._files.pipe_file(path, data)

    def load(self, job_id: str, sha256: str | None = None) -> bytes:
        """The image's bytes, which must have this digest, if one is given.

        Raises `upload-lost` if the store answers that the image does not exist.
        """
        path = self._path(job_id)
        with self._answering():
            try:
                data: bytes = self._files.cat_file(path)
            except FileNotFoundError as error:
                if not self._has_place_of(path) or self._files.exists(path):
                    raise  # the store, and not the image, was away
                raise problems.UPLOAD_LOST(
                    "The picture was accepted, but its file does not exist any more. Send it again."
                ) from error
            if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
                raise OSError(f"the {len(data)} bytes of {path} are not those that were saved")
        return data

    def delete(self, job_id: str) -> None:
        """Remove the picture; one that is not there is no error."""
        self.discard(self._path(job_id))

    def files(self, folder: int) -> list[tuple[str, str]]:
        """Job id and path of every file in one of the `FOLDERS`, those that were never finished too."""
        path = f"{self._root}/{folder:02x}"
        with self._answering():
            self._files.invalidate_cache(path)
            try:
                paths = self._files.ls(path, detail=False)
            except FileNotFoundError:
                return []
        named = ((_ID_IN_NAME.fullmatch(path.rsplit("/", 1)[-1]), path) for path in paths)
        return [(name[1], path) for name, path in named if name]

    def discard(self, path: str) -> None:
        """Remove a file that `files` told of."""
        with self._answering(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(path)

    def _has_place_of(self, path: str) -> bool:
        """Whether what must be there before an image is: its folder on a disk, or the bucket of an object store.

        A share that is not mounted, or another store than the one the image was saved in, has neither.
        """
        self._files.invalidate_cache()
        place = path.rsplit("/", 1)[0] if self._local else self._root.lstrip("/").split("/")[0]
        return bool(self._files.exists(place))

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turns what a file system raises into this module's problems. The libraries behind fsspec raise errors of
        their own beside `OSError`.
        """
        try:
            yield
        except Problem:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
                raise write_problem(error) from error
            if not self._away:  # one line for each outage
                log.warning("The upload store does not answer (%s: %s).", type(error).__name__, error)
            self._away = True
            raise UploadsUnavailable from error
        self._away = False

    def _path(self, job_id: str) -> str:
        # The last characters of a UUIDv7 are random, so the folders fill evenly.
        return f"{self._root}/{job_id[-2:]}/{job_id}"
