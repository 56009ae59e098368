"""Manifests, the pictures that they name, and the files of their results: where these may be, and how they are read.

Clients name URLs, so a URL is only ever a path below one of the roots that the operator has allowed: the root chooses
the file system, and the path may not leave it.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from common import problems
from common.files import PRIVATE_MODE, atomic_write
from common.ingest import upload_too_large
from common.problems import Problem
from common.uploads import Store

#: Suffixes of manifests. A URL that ends with a slash is a folder of pictures, or of files with one of these suffixes.
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet", ".tar")
#: Characters of a URL.
MAX_URL_LENGTH = 2000
#: Files that a range of numbers in braces may stand for.
MAX_FILES = 100_000
#: Bytes that are read from an open file at a time.
BUFFER_BYTES = 64 * 1024

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def check_url(url: str, roots: Sequence[str]) -> tuple[str, str]:
    """Return the root that contains `url`, and the path below it. Raises `url-not-allowed`."""
    parts = url.split("://", 1)[-1].rstrip("/").split("/")
    if len(url) <= MAX_URL_LENGTH and "\0" not in url and not {".", ".."} & set(parts) and "" not in parts[1:]:
        for root in roots:
            if f"{url}/".startswith(f"{root}/"):
                return root, url.removeprefix(root).lstrip("/")
    raise problems.URL_NOT_ALLOWED(
        "The URL is not below one of the folders that this service reads manifests and their pictures from."
    )


def join(folder: str, name: str) -> str:
    """The URL of the file `name`, which is a URL, an absolute path, or relative to the URL `folder`."""
    if "://" in name:
        return name
    return f"file://{name}" if name.startswith("/") else f"{folder}/{name.removeprefix('./')}"


def folder_of(url: str) -> str:
    """The URL of the folder that contains the file `url`, or of the folder `url/`."""
    return url.rpartition("/")[0]


def suffix_of(url: str) -> str | None:
    """The suffix of a manifest, '' for a folder; None for a URL that is neither."""
    if url.endswith("/"):
        return ""
    return next((suffix for suffix in SUFFIXES if url.lower().endswith(suffix)), None)


def expand(url: str) -> list[str]:
    """The URLs of all files that a URL stands for: `name-{000..099}.tar` is a hundred files. Raises `bad-manifest`."""
    match = _RANGE.search(url)
    if not match:
        return [url]
    first, last = match.groups()
    count = int(last) - int(first) + 1
    if not 0 < count <= MAX_FILES:
        raise problems.BAD_MANIFEST(
            "The range in braces must stand for 1 to {limit} files, such as {example}.",
            limit=MAX_FILES,
            example="photos-{000..099}.tar",
        )
    numbers = (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    return [f"{url[: match.start()]}{number}{url[match.end() :]}" for number in numbers]


class ManifestSource:
    """Reads manifests and pictures below the roots. Methods raise `url-not-allowed` and `UploadsUnavailable`."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._stores = {root: _Folder(root) for root in roots}

    def read(self, url: str, max_bytes: int) -> bytes:
        """The bytes of a picture. Raises `file-unreadable` or `upload-too-large`."""
        store, path = self._locate(url)
        data = store.read(path, max_bytes + 1)
        if len(data) > max_bytes:
            raise upload_too_large(max_bytes)
        return data

    def open(self, url: str) -> AbstractContextManager[IO[bytes]]:
        """Open a manifest for reading. Raises `bad-manifest` if it does not exist."""
        store, path = self._locate(url)
        return store.open(path)

    def list(self, url: str) -> Iterator[str]:
        """The URLs of all files below the folder `url/`: those of a folder by name, then those of its subfolders.

        Links are left out. The list is read folder by folder. Raises `bad-manifest` if the folder does not exist.
        """
        root, path = check_url(url.rstrip("/"), list(self._stores))
        return (f"{root}/{found}" for found in self._stores[root].list(path))

    def _locate(self, url: str) -> tuple[_Folder, str]:
        root, path = check_url(url, list(self._stores))
        return self._stores[root], path


class _Folder(Store):
    """A folder or bucket whose files are read by their paths relative to it."""

    def read(self, path: str, limit: int) -> bytes:
        """The first `limit` bytes of a file. Raises `file-unreadable` if only this file cannot be read."""
        reason: Exception | None = None
        with self._store_errors():
            for _attempt in range(2):  # the second one after an error that may not be the file's own
                try:
                    return self._read(self._checked(path), limit)
                except Problem:
                    raise
                except Exception as error:
                    self._check_reachable()
                    reason = error
                    if isinstance(error, FileNotFoundError):
                        break
        raise problems.FILE_UNREADABLE("The file does not exist, or the store refuses to read it.") from reason

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file for reading. Raises `bad-manifest` if it does not exist."""
        with self._store_errors():
            try:
                file = self._open(self._checked(path))
            except FileNotFoundError as error:
                self._check_reachable()
                name = path.rsplit("/", 1)[-1]
                raise problems.BAD_MANIFEST("The file {name} does not exist.", name=name) from error
        with io.BufferedReader(file, BUFFER_BYTES) as buffered:
            yield buffered

    def list(self, path: str) -> Iterator[str]:
        """The paths of all files below a folder. Raises `bad-manifest` if it does not exist."""
        full_path = self._checked(path, folder=True)
        with self._store_errors():
            try:
                entries = self._files.ls(full_path, detail=True, refresh=True)
            except FileNotFoundError as error:
                self._check_reachable()
                raise problems.BAD_MANIFEST("The folder does not exist.") from error
        # S3 may list the folder itself, as an empty object.
        found = {
            entry["name"].rsplit("/", 1)[-1]: entry["type"]
            for entry in entries
            if not entry.get("islink") and entry["name"].rstrip("/") != full_path
        }
        del entries
        prefix = f"{path}/" if path else ""
        yield from (f"{prefix}{name}" for name in sorted(found) if found[name] == "file")
        for name in sorted(found):
            if found[name] == "directory":
                yield from self.list(f"{prefix}{name}")

    def _read(self, full_path: str, limit: int) -> bytes:
        try:
            data: bytes = self._files.cat_file(full_path, start=0, end=limit)
        except OSError:
            if self._files.info(full_path)["size"] == 0:  # S3 refuses a range of an empty object
                return b""
            raise
        return data

    def _checked(self, path: str, folder: bool = False) -> str:
        """The path in the file system. Raises `url-not-allowed` for links, and for files that are not regular."""
        full_path = f"{self._root}/{path}".rstrip("/")
        if self._local and os.path.lexists(full_path):
            real = os.path.join(os.path.realpath(self._root), path).rstrip("/")
            if os.path.realpath(full_path) != real or not (os.path.isdir(real) if folder else os.path.isfile(real)):
                raise problems.URL_NOT_ALLOWED("Links, and what is no regular file, are not read.")
        return full_path

    def _check_reachable(self) -> None:
        """Raise `OSError` unless the local folder or the bucket exists."""
        if not self._has_container(self._root):
            raise OSError(f"{self._root} does not exist")


class ResultStore(_Folder):
    """The files of results, in folders below one URL that ends without a slash.

    Methods raise `UploadsUnavailable`, and `url-not-allowed`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url

    def write(self, folder: str, name: str, content: IO[bytes]) -> None:
        """Write a file into the folder of this URL, atomically; replaces one of that name. Raises `storage-full`."""
        path = f"{self._root}/{self.path(folder, name)}"
        with self._store_errors():
            if self._local and not Path(self._root).is_dir():  # see `Store.create`
                raise FileNotFoundError(self._root)
            # A worker that has lost its lease may write the same file meanwhile, so the temporary names differ.
            suffix = f".{secrets.token_hex(4)}.saving"
            with (
                atomic_write(Path(path), PRIVATE_MODE, suffix) if self._local else self._files.open(path, "wb")
            ) as file:
                shutil.copyfileobj(content, file)

    def path(self, folder: str, name: str) -> str:
        """The path of a file in the folder of this URL, as `open` takes it."""
        return check_url(f"{folder}/{name}", [self._url])[1]
