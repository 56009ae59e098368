"""The store of uploaded pictures: a local folder by default, any fsspec URL (`s3://…`) for several machines."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import fsspec

from common import problems
from common.files import NO_ROOM, PRIVATE, SAVING, not_kept, whole

#: Folders that the pictures are spread over, named by the last two characters of their ids.
FOLDERS = 256
#: The id in the name of any file here, those that are not whole too.
_ID_IN_NAME = re.compile(rf"([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})(?:{re.escape(SAVING)})?")


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
                with whole(Path(path), PRIVATE) as file:
                    file.write(data)
            else:
                self._files.pipe_file(path, data)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise not_kept(error) from error

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
        self.discard(self._path(job_id))

    def files(self, folder: int) -> list[tuple[str, str]]:
        """Job id and path of every file in one of the `FOLDERS`, those that were never finished too."""
        path = f"{self._root}/{folder:02x}"
        self._files.invalidate_cache(path)
        try:
            paths = self._files.ls(path, detail=False)
        except FileNotFoundError:
            return []
        named = ((_ID_IN_NAME.fullmatch(path.rsplit("/", 1)[-1]), path) for path in paths)
        return [(name[1], path) for name, path in named if name]

    def discard(self, path: str) -> None:
        """Remove a file that `files` told of."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(path)

    def _path(self, job_id: str) -> str:
        # The last characters of a UUIDv7 are random, so the folders fill evenly.
        return f"{self._root}/{job_id[-2:]}/{job_id}"
