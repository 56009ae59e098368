"""Shards of WebDataset as manifests: tar files whose members are pictures and other files of the same name.

Ranges are ranges of bytes that begin with a member's header.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from common import problems
from common.images.formats import SUFFIXES
from common.ingest import MAX_CUSTOM_ID_LENGTH, upload_too_large
from common.problems import Problem
from worker.archives.names import is_skipped
from worker.manifests.rows import Row


class Tar:
    """A tar file without compression. Members that are no pictures, by their suffix, are skipped."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def cut(self, file: IO[bytes], start: int, count: int) -> Iterator[tuple[int, int]]:
        found, end = 0, start
        try:
            for member, end in _members(file, start):
                found += _is_picture(member)
                if found == count:
                    yield start, end
                    start, found = end, 0
        except Problem as problem:
            if found and problem.kind is problems.BAD_MANIFEST:  # what comes before the damage is captioned
                yield start, end
            raise
        if found:
            yield start, end

    def rows(self, file: IO[bytes], start: int, end: int) -> Iterator[Row]:
        for member, _ in _members(file, start, end):
            if not _is_picture(member):
                continue
            name = member.name[-MAX_CUSTOM_ID_LENGTH:]
            if member.size > self._max_bytes:
                yield Row(name, _key(name), problem=upload_too_large(self._max_bytes))
                continue
            file.seek(member.offset_data)
            yield Row(name, _key(name), file.read(member.size))


def _members(file: IO[bytes], start: int, end: int | None = None) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """The members from position `start` on, each with the position after it."""
    file.seek(start)
    try:
        tar = tarfile.open(fileobj=file, mode="r:", errors="replace")  # noqa: SIM115  the caller closes the file
        while member := tar.next():
            tar.members = []  # type: ignore[attr-defined]  # or it keeps all of them
            yield member, tar.offset
            if end is not None and tar.offset >= end:
                return
    except (tarfile.TarError, ValueError) as error:
        raise problems.BAD_MANIFEST("The file is no tar file, or it is damaged or compressed.") from error


def _is_picture(member: tarfile.TarInfo) -> bool:
    suffix = PurePosixPath(member.name).suffix.lower()
    return member.isreg() and not member.issparse() and suffix in SUFFIXES and not is_skipped(member.name)


def _key(name: str) -> str:
    """The key of a sample, as WebDataset defines it: the path up to the first dot of the file name."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))
