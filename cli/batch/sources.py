"""Finds the images that a command line names: files, folders, patterns, and URLs of file systems known to fsspec."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import requests
from fsspec.core import url_to_fs

from cli.batch import BatchError
from common import problems
from common.images.decoding import SUFFIXES
from common.translation import _

#: URLs that are fetched with requests. They have no folders and no patterns.
HTTP = ("http://", "https://")
#: Seconds without data after which a download fails.
DOWNLOAD_TIMEOUT = 60.0
#: Characters of patterns.
MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """An image, by its path or URL."""

    location: str

    @property
    def path(self) -> Path | None:
        """The path on this machine; None for a URL."""
        return None if "://" in self.location else Path(self.location)

    def read(self) -> bytes:
        """The file's bytes; raises the problem `not-found` when it cannot be read."""
        try:
            if self.path is not None:
                return self.path.read_bytes()
            if self.location.startswith(HTTP):
                response = requests.get(self.location, timeout=DOWNLOAD_TIMEOUT)
                response.raise_for_status()
                return response.content
            with fsspec.open(self.location, "rb") as file:
                data: bytes = file.read()
                return data
        except (OSError, ImportError, ValueError) as error:  # ImportError: a file system whose package is missing
            reason = getattr(error, "strerror", "") or str(error)
            raise problems.NOT_FOUND("The file cannot be read: {reason}.", reason=reason) from error


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, as temporary files of many programs are, and files of systems and shares."""
    return name.startswith(".")


def is_image(name: str) -> bool:
    """Whether a file in a folder counts as an image: its suffix is that of an accepted format, and it is not hidden."""
    return Path(name).suffix.lower() in SUFFIXES and not is_hidden(name)


def find(arguments: Iterable[str], *, recursive: bool) -> list[Source]:
    """The images that the arguments name, each once: arguments in order, the contents of a folder sorted by path.

    A folder gives its images, with those of its subfolders if `recursive`; a file that is named itself is always taken.
    Raises `BatchError`.
    """
    found: dict[str, Source] = {}
    for argument in arguments:
        sources = _at_url(argument, recursive) if "://" in argument else _on_disk(argument, recursive)
        for source in sources:
            found.setdefault(source.location, source)
    return list(found.values())


def _on_disk(argument: str, recursive: bool) -> Iterator[Source]:
    path = Path(argument)
    if path.is_dir():
        yield from (Source(str(file)) for file in sorted(_in_folder(path, recursive)))
    elif path.exists():
        yield Source(argument)
    elif MAGIC.intersection(argument):
        matches = [match for match in sorted(glob.glob(argument, recursive=True)) if Path(match).is_file()]
        if not matches:
            raise BatchError(_("No file matches {pattern}.", pattern=argument))
        yield from (Source(match) for match in matches)
    else:
        raise BatchError(_("There is no file or folder {name}.", name=argument))


def _in_folder(folder: Path, recursive: bool) -> Iterator[Path]:
    """The images in a folder. Subfolders that may not be read, or disappear, are left out."""

    def refuse(error: OSError) -> None:
        if error.filename == str(folder):
            raise BatchError(_("{folder} cannot be listed: {reason}.", folder=folder, reason=error.strerror)) from error

    for place, subfolders, names in os.walk(folder, onerror=refuse):
        subfolders[:] = [name for name in subfolders if recursive and not is_hidden(name)]
        for name in names:
            path = Path(place, name)
            if is_image(name) and path.is_file():
                yield path


def _at_url(argument: str, recursive: bool) -> Iterator[Source]:
    if argument.startswith(HTTP):
        yield Source(argument)
        return
    try:
        system, path = url_to_fs(argument)
        if MAGIC.intersection(argument):
            matches = system.glob(path)
        elif system.isdir(path):
            matches = system.find(path, maxdepth=None if recursive else 1)
            matches = [match for match in matches if Path(match).suffix.lower() in SUFFIXES]
        else:
            matches = [path]
    except (ImportError, ValueError, OSError) as error:
        raise BatchError(_("{url} cannot be listed: {reason}", url=argument, reason=str(error))) from error
    if not matches:
        raise BatchError(_("No image is at {url}.", url=argument))
    for match in sorted(matches):
        yield Source(system.unstrip_protocol(match))
